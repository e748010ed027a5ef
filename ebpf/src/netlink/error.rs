//! Why the kernel gave no answer, or none that could be relied on.

use std::{io, time::Duration};

/// Why a question to the kernel has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened, written or read.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The kernel's answer is an error: to a request, or at the end of a list.
    #[error("the kernel answers: {0}")]
    Refused(io::Error),
    /// The list never came out whole.
    #[error(
        "the list changed while it was read, {tries} times in a row; try again when the host is less busy"
    )]
    Interrupted {
        /// How often it was read.
        tries: u32,
    },
    /// The kernel did not answer.
    #[error("the kernel has not answered within {} s", .0.as_secs())]
    Silent(Duration),
    /// The kernel's answer could not be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What in a message makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a netlink message of the kernel can't be read: {0}")]
pub struct Malformed(pub &'static str);

impl Error {
    /// The kernel's answer, where it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<nix::Error> {
        match self {
            Self::Refused(error) => error.raw_os_error().map(nix::Error::from_raw),
            _ => None,
        }
    }

    /// Whether the socket can be used for the next question. When not, answers to this one may still come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Interrupted { .. })
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Socket(error) | Error::Refused(error) => error,
            Error::Interrupted { .. } => Self::new(io::ErrorKind::Interrupted, error),
            Error::Silent(_) => Self::new(io::ErrorKind::TimedOut, error),
            Error::Malformed(error) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
