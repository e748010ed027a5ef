//! The version of a plugin's executable, read from its bytes.

use memchr::memmem;

/// The text around the version in the output of `--version`; see `main.rs`.
const BEFORE: &[u8] = b"vrfgate CNI plugin ";
const AFTER: &[u8] = b" (CNI ";

/// Longer than any version of the plugin, in bytes.
const VERSION_MAX: usize = 64;

/// The version, if these bytes are an executable of the plugin.
///
/// It is never run: the file may be another program, or for another machine.
#[must_use]
pub fn version_of(executable: &[u8]) -> Option<&str> {
    memmem::find_iter(executable, BEFORE).find_map(|at| {
        let rest = &executable[at + BEFORE.len()..];
        let rest = &rest[..rest.len().min(VERSION_MAX)];
        let version = &rest[..memmem::find(rest, AFTER)?];
        // Other programs of this project contain the text without a version.
        let fine = version.first().is_some_and(u8::is_ascii_digit)
            && version
                .iter()
                .all(|c| c.is_ascii_alphanumeric() || b".-+".contains(c));
        if fine {
            std::str::from_utf8(version).ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn a_version_is_found_where_it_is_stated_and_nowhere_else() {
        for (bytes, version) in [
            (
                "\x7fELF…vrfgate CNI plugin 0.1.0 (CNI 0.3.1)…",
                Some("0.1.0"),
            ),
            (
                "vrfgate CNI plugin 1.2.0-rc.1+abc (CNI ",
                Some("1.2.0-rc.1+abc"),
            ),
            (
                "vrfgate CNI plugin  (CNI vrfgate CNI plugin 0.2.0 (CNI ",
                Some("0.2.0"),
            ),
            ("vrfgate CNI plugin 0.1.0", None),
            ("vrfgate CNI plugin {version} (CNI ", None),
            ("#!/bin/sh\n", None),
            ("", None),
        ] {
            assert_eq!(version_of(bytes.as_bytes()), version, "{bytes}");
        }
    }
}
