//! The sockets of a namespace that the kernel could hand a new connection or a datagram to, by `sock_diag(7)`.
//!
//! Knows what the kernel lists. It must not know which of them a packet would reach: that takes rules, VRFs
//! and sysctls.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use vrfgate_core::{OpenSocket, Protocol};

use crate::{
    Error, Netns,
    error::Doing,
    netlink::{self, Malformed, Message, Request, Socket},
};

/// `<linux/sock_diag.h>`, `<linux/inet_diag.h>`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// `struct inet_diag_msg`
const INET_DIAG_MSG: usize = 72;

/// `TCPF_BOUND_INACTIVE` of the kernel's `include/net/tcp_states.h`: bound, and neither listening nor connected. Older
/// kernels take it for a state that no socket is in.
const BOUND_INACTIVE: u32 = 1 << 13;

/// What of a namespace's sockets the kernel lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketsInSight {
    /// Sockets, in no particular order.
    pub sockets: Vec<OpenSocket>,
    /// Protocols that the kernel has no lists of. It has such sockets all the same.
    pub unlisted: Vec<Unlisted>,
}

/// A protocol whose sockets the kernel does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlisted(pub Protocol);

impl std::error::Error for Unlisted {}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, module, option) = match self.0 {
            Protocol::Tcp => ("TCP", "tcp_diag", "CONFIG_INET_DIAG"),
            Protocol::Udp => ("UDP", "udp_diag", "CONFIG_INET_UDP_DIAG"),
        };
        write!(
            f,
            "the kernel lists no {name} sockets: it has no {module} (modprobe {module}, or boot a kernel with \
             {option})"
        )
    }
}

/// Every TCP listener and every bound UDP socket of a namespace, in no particular order. Fails where the kernel
/// doesn't list one of the protocols; see [`sockets_in_sight`].
///
/// A socket that is made or closed meanwhile may or may not be in it.
pub fn open_sockets(netns: &Netns) -> Result<Vec<OpenSocket>, Error> {
    let both = [Protocol::Tcp, Protocol::Udp];
    let SocketsInSight { sockets, unlisted } = sockets_in_sight(netns, &both)?;
    match unlisted.first() {
        None => Ok(sockets),
        Some(unlisted) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            unlisted.to_string(),
        ))
        .doing(|| asking(netns)),
    }
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
    let mut socket = open(netns).doing(asking)?;
    let mut sockets = Vec::new();
    for &port in ports {
        for mut id in [SocketId::new_v4(), SocketId::new_v6()] {
            id.source_port = port;
            sockets.extend(
                list(&mut socket, Protocol::Tcp, states.clone(), id)
                    .map_err(io::Error::from)
                    .doing(asking)?,
            );
        }
    }
    Ok(sockets)
}

/// As [`open_sockets`], of those among some protocols that the kernel lists. Asking for one that it doesn't list has it
/// look for a module.
pub fn sockets_in_sight(netns: &Netns, protocols: &[Protocol]) -> Result<SocketsInSight, Error> {
    let mut socket = open(netns).doing(|| asking(netns))?;
    let mut found = SocketsInSight::default();
    for &protocol in protocols {
        // A UDP socket is in the state "closed" until it is connected, then "established".
        let states = match protocol {
            Protocol::Tcp => StateFlags::LISTEN,
            Protocol::Udp => StateFlags::CLOSE | StateFlags::ESTABLISHED,
        };
        for id in [SocketId::new_v4(), SocketId::new_v6()] {
            match list(&mut socket, protocol, states.clone(), id) {
                Ok(sockets) => found.sockets.extend(sockets),
                // In a word of its own, or as the end of a list that holds nothing.
                Err(error) if error.errno() == Some(nix::Error::ENOENT) => {
                    found.unlisted.push(Unlisted(protocol));
                    break;
                }
                Err(error) => return Err(io::Error::from(error)).doing(|| asking(netns)),
            }
        }
    }
    Ok(found)
}

fn asking(netns: &Netns) -> String {
    format!("asking the kernel for the sockets of {netns}")
}

fn open(netns: &Netns) -> io::Result<Socket> {
    Ok(Socket::open(netns, NETLINK_SOCK_DIAG)?)
}

fn list(
    socket: &mut Socket,
    protocol: Protocol,
    states: StateFlags,
    any: SocketId,
) -> Result<Vec<OpenSocket>, netlink::Error> {
    let request = request(protocol.number(), states, any);
    socket.list(&request, |message| match message.kind {
        SOCK_DIAG_BY_FAMILY => open_socket(protocol, &message).map(Some),
        _ => Ok(None),
    })
}

fn request(protocol: u8, states: StateFlags, any: SocketId) -> Request {
    let request = InetRequest {
        family: if any.source_address.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        },
        protocol,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: any,
    };
    Request::of(&SockDiagMessage::InetRequest(request), 0)
}

/// For the fuzzer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_everything(message: &Message<'_>) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _ = open_socket(protocol, message);
    }
}

/// Read as it comes: an attribute that a crate doesn't know how to read spoils nothing.
fn open_socket(protocol: Protocol, message: &Message<'_>) -> Result<OpenSocket, Malformed> {
    let [family] = message.field(0)?;
    let port = |at| message.field(at).map(u16::from_be_bytes);
    let number = |at| message.field(at).map(u32::from_ne_bytes);
    let address = |at| -> Result<IpAddr, Malformed> {
        if family == AF_INET {
            Ok(message.field::<4>(at)?.into())
        } else {
            Ok(message.field::<16>(at)?.into())
        }
    };
    let local = address(8)?;
    // The kernel leaves the option out for sockets to which it doesn't apply.
    let mut ipv6_only = false;
    for attribute in message.attributes(INET_DIAG_MSG) {
        let attribute = attribute?;
        if attribute.kind == INET_DIAG_SKV6ONLY {
            ipv6_only = attribute.u8()? != 0;
        }
    }
    let (peer_port, device) = (port(6)?, number(40)?);
    Ok(OpenSocket {
        protocol,
        address: local.to_canonical(),
        port: port(4)?,
        device: (device != 0).then_some(device),
        dual_stack: local.is_ipv6() && local.is_unspecified() && !ipv6_only,
        peer: match peer_port {
            0 => None,
            peer_port => Some(SocketAddr::new(address(24)?.to_canonical(), peer_port)),
        },
        cookie: u64::from_ne_bytes(message.field(44)?),
        inode: number(68)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a protocol that no kernel lists, as it is of UDP where there is no `udp_diag`.
    #[test]
    fn a_protocol_without_a_list_is_told_from_one_without_sockets() {
        let mut socket = Socket::open(&Netns::current().unwrap(), NETLINK_SOCK_DIAG).unwrap();
        let unknown = request(250, StateFlags::all(), SocketId::new_v4());

        let answer = socket.list(&unknown, |_| Ok(Some(())));

        assert_eq!(answer.unwrap_err().errno(), Some(nix::Error::ENOENT));
        let sockets = list(
            &mut socket,
            Protocol::Udp,
            StateFlags::CLOSE,
            SocketId::new_v4(),
        );
        assert!(sockets.is_ok(), "the socket is free for the next question");
    }

    #[test]
    fn what_the_kernel_lacks_is_told_by_name() {
        assert_eq!(
            Unlisted(Protocol::Udp).to_string(),
            "the kernel lists no UDP sockets: it has no udp_diag (modprobe udp_diag, or boot a kernel with \
             CONFIG_INET_UDP_DIAG)"
        );
    }
}
