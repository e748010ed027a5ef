//! What a client sees.

use std::{fmt, io};

/// How an attempt to reach a server ended, seen from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server answered, with this line.
    Reached(String),
    /// The port is closed: TCP reset or ICMP port unreachable.
    Refused,
    /// A connection that was open, seen from the client, and then was reset.
    Reset,
    /// Nothing came back in time.
    TimedOut,
    /// Something on the way, or the client itself, knows no route.
    Unreachable,
    /// Anything else, which no test expects.
    Failed(String),
}

impl Outcome {
    /// The outcome that an error of a socket stands for.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
            WouldBlock,
        };
        match error.kind() {
            ConnectionRefused => Self::Refused,
            ConnectionReset => Self::Reset,
            // A read with a time limit ends as WouldBlock, a connect as TimedOut.
            TimedOut | WouldBlock => Self::TimedOut,
            HostUnreachable | NetworkUnreachable => Self::Unreachable,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(identity) => write!(f, "reached {identity:?}"),
            Self::Refused => f.write_str("was refused"),
            Self::Reset => f.write_str("was connected, then reset"),
            Self::TimedOut => f.write_str("got no answer in time"),
            Self::Unreachable => f.write_str("found no route"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}
