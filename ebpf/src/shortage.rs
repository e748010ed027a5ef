//! Which answers of the system say that something is short, and nothing about what was asked for.

use std::io;

use aya::maps::MapError;
use nix::errno::Errno;

use crate::error::causes;

/// Whether an error only says that the process or the machine is short of something: descriptors, memory, room,
/// threads. Whatever was looked for may be there, or not.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| {
        matches!(
            errno,
            Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOMEM
                | Errno::ENOBUFS
                | Errno::ENOSPC
                | Errno::EDQUOT
                | Errno::EAGAIN
                | Errno::EINTR
        )
    })
}

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

/// An error with all its causes as one of the system's, which still can be told for what it is.
pub(crate) fn as_io(error: &(dyn std::error::Error + 'static)) -> io::Error {
    match answer(error).and_then(io::Error::raw_os_error) {
        Some(number) if is_shortage(&io::Error::from_raw_os_error(number)) => {
            io::Error::from_raw_os_error(number)
        }
        _ => io::Error::other(causes(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn emfile() -> io::Error {
        Errno::EMFILE.into()
    }

    #[test]
    fn what_is_short_says_nothing_of_what_was_looked_for() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOSPC] {
            assert!(is_shortage(&errno.into()), "{errno}");
        }
        for errno in [Errno::ENOENT, Errno::ESRCH, Errno::EPERM, Errno::EINVAL] {
            assert!(!is_shortage(&errno.into()), "{errno}");
        }
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
