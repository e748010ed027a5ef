//! The open sockets of a namespace, as plain values. Knows nothing of how they are listed.

use std::net::{IpAddr, SocketAddr};

use crate::Protocol;

/// A socket that takes new connections (TCP) or datagrams (UDP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// What it speaks.
    pub protocol: Protocol,
    /// The local address, unspecified for a wildcard socket. An IPv6 socket bound to an IPv4-mapped address
    /// has the IPv4 address here, because it takes nothing else.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// Ifindex of the device it is bound to (`SO_BINDTODEVICE`): a VRF, a slave, any device.
    pub device: Option<u32>,
    /// Whether it takes IPv4 packets too: an IPv6 wildcard without `IPV6_V6ONLY`.
    pub dual_stack: bool,
    /// Whom a connected UDP socket talks to. It takes nothing from anybody else.
    pub peer: Option<SocketAddr>,
    /// The socket's cookie (`SO_COOKIE`): unique until the next boot.
    pub cookie: u64,
    /// Its number on sockfs, as in `/proc/PID/fd`.
    pub inode: u32,
}

impl OpenSocket {
    /// Whether two sockets of one protocol want packets to the same address and port, devices aside.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let covers = |one: &Self, other: &Self| {
            one.address.is_unspecified()
                && (one.address.is_ipv4() == other.address.is_ipv4()
                    || (one.dual_stack && other.address.is_ipv4()))
        };
        self.protocol == other.protocol
            && self.port == other.port
            && (self.address == other.address || covers(self, other) || covers(other, self))
    }

    /// Whether it takes what anybody sends to a port, addresses and devices aside.
    #[must_use]
    pub fn is_open_on(&self, protocol: Protocol, port: u16) -> bool {
        self.peer.is_none() && self.protocol == protocol && self.port == port
    }

    /// Whether it takes what is sent to an address, its own or any. Ports and devices aside.
    #[must_use]
    pub fn takes_address(&self, address: IpAddr) -> bool {
        if self.address.is_unspecified() {
            self.address.is_ipv4() == address.is_ipv4() || (self.dual_stack && address.is_ipv4())
        } else {
            self.address == address
        }
    }

    /// Whether it takes what anybody sends to a port of an address, devices aside.
    #[must_use]
    pub fn takes(&self, protocol: Protocol, port: u16, address: IpAddr) -> bool {
        self.is_open_on(protocol, port) && self.takes_address(address)
    }
}
