//! The sockets of a namespace that the kernel could hand a new connection or a datagram to, by `sock_diag(7)`.
//!
//! Knows what the kernel lists. It must not know which of them a packet would reach: that takes rules, VRFs
//! and sysctls.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{SocketAddr as Kernel, protocols::NETLINK_SOCK_DIAG};

use crate::{Error, Netns, Protocol, error::Doing};

/// `TCPF_BOUND_INACTIVE` of the kernel's `include/net/tcp_states.h`: bound, and neither listening nor connected. Older
/// kernels take it for a state that no socket is in.
const BOUND_INACTIVE: u32 = 1 << 13;

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
}

/// Every TCP listener and every bound UDP socket of a namespace, in no particular order.
///
/// A socket that is made or closed meanwhile may or may not be in it.
pub fn open_sockets(netns: &Netns) -> Result<Vec<OpenSocket>, Error> {
    let asking = || format!("asking the kernel for the sockets of {netns}");
    let socket = netns
        .run(|| netlink_sys::Socket::new(NETLINK_SOCK_DIAG))
        .and_then(|opened| opened)
        .doing(asking)?;
    let mut sockets = Vec::new();
    // A UDP socket is in the state "closed" until it is connected, then "established".
    for (protocol, states) in [
        (Protocol::Tcp, StateFlags::LISTEN),
        (Protocol::Udp, StateFlags::CLOSE | StateFlags::ESTABLISHED),
    ] {
        for id in [SocketId::new_v4(), SocketId::new_v6()] {
            dump(&socket, protocol, states.clone(), id, &mut sockets).doing(asking)?;
        }
    }
    Ok(sockets)
}

/// TCP sockets that hold a port and have no peer: listeners and, from Linux 6.8 on, those that are only bound.
pub(crate) fn port_holders(netns: &Netns) -> Result<Vec<OpenSocket>, Error> {
    let states = StateFlags::LISTEN | StateFlags::from_bits_retain(BOUND_INACTIVE);
    tcp_sockets(netns, &states, &[0])
}

/// TCP connections in any state, those that wait for their end included, from these local ports.
pub(crate) fn connections(netns: &Netns, ports: &[u16]) -> Result<Vec<OpenSocket>, Error> {
    tcp_sockets(netns, &(StateFlags::all() - StateFlags::LISTEN), ports)
}

/// Port 0 stands for all.
fn tcp_sockets(
    netns: &Netns,
    states: &StateFlags,
    ports: &[u16],
) -> Result<Vec<OpenSocket>, Error> {
    let asking = || format!("asking the kernel for the TCP sockets of {netns}");
    let socket = netns
        .run(|| netlink_sys::Socket::new(NETLINK_SOCK_DIAG))
        .and_then(|opened| opened)
        .doing(asking)?;
    let mut sockets = Vec::new();
    for &port in ports {
        for mut id in [SocketId::new_v4(), SocketId::new_v6()] {
            id.source_port = port;
            dump(&socket, Protocol::Tcp, states.clone(), id, &mut sockets).doing(asking)?;
        }
    }
    Ok(sockets)
}

fn dump(
    socket: &netlink_sys::Socket,
    protocol: Protocol,
    states: StateFlags,
    any: SocketId,
    sockets: &mut Vec<OpenSocket>,
) -> io::Result<()> {
    let request = InetRequest {
        family: if any.source_address.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        },
        protocol: protocol.number(),
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: any,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &Kernel::new(0, 0), 0)?;

    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // Messages begin at multiples of four bytes (NLMSG_ALIGN of <linux/netlink.h>).
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    sockets.push(open_socket(protocol, &response));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

fn open_socket(protocol: Protocol, response: &InetResponse) -> OpenSocket {
    let id = &response.header.socket_id;
    // The kernel says nothing of the option for sockets it has no meaning for.
    let ipv6_only = response.nlas.contains(&Nla::SkV6Only(true));
    OpenSocket {
        protocol,
        address: id.source_address.to_canonical(),
        port: id.source_port,
        device: (id.interface_id != 0).then_some(id.interface_id),
        dual_stack: id.source_address.is_ipv6() && id.source_address.is_unspecified() && !ipv6_only,
        peer: (id.destination_port != 0)
            .then(|| SocketAddr::new(id.destination_address.to_canonical(), id.destination_port)),
        cookie: u64::from_ne_bytes(id.cookie),
        inode: response.header.inode,
    }
}
