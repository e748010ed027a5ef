//! Errors of the system that say nothing about what was asked for.

use std::io;

use nix::errno::Errno;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_says_nothing_of_what_was_looked_for() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOSPC] {
            assert!(is_shortage(&errno.into()), "{errno}");
        }
        for errno in [Errno::ENOENT, Errno::ESRCH, Errno::EPERM, Errno::EINVAL] {
            assert!(!is_shortage(&errno.into()), "{errno}");
        }
    }
}
