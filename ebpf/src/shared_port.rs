//! A TCP port that is shared so that `tcp_l3mdev_accept` must not change. The module `ports` finds them.

use std::fmt;

use crate::OpenSocket;

/// What to do when `tcp_l3mdev_accept` is to change while a TCP port is shared, on a kernel that may crash because of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedPorts {
    /// Change nothing, and report the ports and sockets: [`Error::PortShared`](crate::Error::PortShared).
    #[default]
    Refuse,
    /// Go ahead.
    Accept,
}

/// A TCP port that a socket of a VRF and one of no VRF both have, at addresses that overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPort {
    /// The one that is bound to a VRF, to a slave of one, or to a device that is gone. It has no peer.
    pub bound: OpenSocket,
    /// The other: bound to no device, or to one of no VRF. A connection, where no other has the port.
    pub unbound: OpenSocket,
}

impl fmt::Display for SharedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bound, unbound } = self;
        write!(
            f,
            "port {} ({} and {})",
            bound.port,
            Holder(bound),
            Holder(unbound)
        )
    }
}

struct Holder<'a>(&'a OpenSocket);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.0;
        write!(f, "socket {} on ", socket.inode)?;
        if socket.dual_stack {
            f.write_str("*")?;
        } else {
            write!(f, "{}", socket.address)?;
        }
        match socket.device {
            Some(device) => write!(f, ", bound to device {device}"),
            None => f.write_str(", bound to no device"),
        }
    }
}
