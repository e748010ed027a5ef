//! What follows from facts alone; and the host that these tests and those of `explain` are about.

mod access;
mod beyond;
mod clashes;

use std::net::{IpAddr, SocketAddr};

use vrfgate_core::{Link, LinkKind, LocalAddress, NodeFacts, Protocol};
use vrfgate_ebpf::{L3mdevAccept, OpenSocket};

use super::*;

pub(crate) const LAN: u32 = 2;
pub(crate) const BLUE: u32 = 3;
pub(crate) const BLUE1: u32 = 4;
pub(crate) const BLUE2: u32 = 5;
pub(crate) const RED: u32 = 6;
pub(crate) const RED1: u32 = 7;
pub(crate) const BLUE_TABLE: u32 = 10;
pub(crate) const LOCAL: u32 = 255;
pub(crate) const MAIN: u32 = 254;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn link(ifindex: u32, name: &str, master: Option<u32>) -> Link {
    Link {
        ifindex,
        name: name.into(),
        kind: match name {
            "BLUE" => LinkKind::Vrf {
                table: Some(BLUE_TABLE),
            },
            "RED" => LinkKind::Vrf { table: Some(20) },
            _ => LinkKind::Other,
        },
        master,
    }
}

/// A router with VRFs BLUE (two slaves) and RED.
pub(crate) fn node() -> NodeFacts {
    NodeFacts {
        links: vec![
            link(1, "lo", None),
            link(LAN, "lan", None),
            link(BLUE, "BLUE", None),
            link(BLUE1, "blue1", Some(BLUE)),
            link(BLUE2, "blue2", Some(BLUE)),
            link(RED, "RED", None),
            link(RED1, "red1", Some(RED)),
        ],
        addresses: [
            (LAN, "192.0.2.1"),
            (LAN, "2001:db8::1"),
            (BLUE1, "10.0.0.1"),
        ]
        .map(|(ifindex, address)| LocalAddress {
            ifindex,
            address: ip(address),
        })
        .into(),
        prefixes: Vec::new(),
    }
}

/// A TCP listener with a number of its own.
pub(crate) fn listener(inode: u32, on: &str, device: Option<u32>) -> OpenSocket {
    let on: SocketAddr = on.parse().unwrap();
    OpenSocket {
        protocol: Protocol::Tcp,
        address: on.ip(),
        port: on.port(),
        device,
        dual_stack: on.ip() == ip("::"),
        peer: None,
        cookie: inode.into(),
        inode,
    }
}

pub(crate) fn datagrams(socket: &OpenSocket) -> OpenSocket {
    OpenSocket {
        protocol: Protocol::Udp,
        ..socket.clone()
    }
}
