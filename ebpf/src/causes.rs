//! The system's answer behind an error of a library, so that a shortage is known for what it is.

use std::io;

use aya::maps::MapError;
use vrfgate_machine::is_shortage;

/// The system's answer among an error and its causes. aya's errors leave it to those.
pub(crate) fn answer<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // One that is shown as if it were its cause isn't among its own causes.
        let shown = match error.downcast_ref() {
            Some(MapError::IoError(error)) => Some(error),
            _ => error.downcast_ref::<io::Error>(),
        };
        if shown.is_some() {
            return shown;
        }
        next = error.source();
    }
    None
}

/// An error with all its causes as one of the system's. A shortage is still known as one.
pub(crate) fn as_io(error: &(dyn std::error::Error + 'static)) -> io::Error {
    match answer(error).and_then(io::Error::raw_os_error) {
        Some(number) if is_shortage(&io::Error::from_raw_os_error(number)) => {
            io::Error::from_raw_os_error(number)
        }
        _ => io::Error::other(causes(error)),
    }
}

/// An error and what caused it, in one line. aya's errors leave the system's answer to their causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::Error;

    fn emfile() -> io::Error {
        Errno::EMFILE.into()
    }

    #[test]
    fn a_shortage_is_found_among_the_causes_of_an_error() {
        let error = Error::Load(aya::EbpfError::MapError(aya::maps::MapError::SyscallError(
            aya::sys::SyscallError {
                call: "bpf_map_create",
                io_error: emfile(),
            },
        )));
        assert!(error.is_shortage(), "{error}");
        let error = Error::Io {
            doing: "opening it".into(),
            cause: emfile(),
        };
        assert!(error.is_shortage(), "{error}");
        let error = Error::Io {
            doing: "opening it".into(),
            cause: Errno::ENOENT.into(),
        };
        assert!(!error.is_shortage(), "{error}");
    }
}
