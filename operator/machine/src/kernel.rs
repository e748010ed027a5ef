//! The running kernel's release.

/// The running kernel's release, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// Whether the running kernel's release is this one or a later one. One that can't be read counts as later.
#[must_use]
pub fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    version_of(&kernel_release()).is_none_or(|version| version >= (major, minor))
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_of_any_distribution_has_a_version() {
        for (release, version) in [
            ("5.17.0", (5, 17)),
            ("6.1.0-49-cloud-amd64", (6, 1)),
            ("5.14.0-611.el9.x86_64", (5, 14)),
            ("7.2-rc1", (7, 2)),
        ] {
            assert_eq!(version_of(release), Some(version), "{release}");
        }
    }
}
