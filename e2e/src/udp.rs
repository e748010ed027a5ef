//! How a UDP server answers: from where, and out of which interface.
//!
//! Servers of the world differ in exactly this, and it decides whether their answers reach a VRF.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::{
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::Socket;

/// What a server says about the way of its answers (`IP_PKTINFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyFrom {
    /// Nothing: the kernel chooses source address and route.
    #[default]
    Anywhere,
    /// The address that was asked.
    AskedAddress,
    /// The address that was asked, and the interface the question came in by.
    AskedAddressAndInterface,
}

/// A datagram, and where it was sent to.
pub struct Question {
    from: SockaddrStorage,
    asked: Option<(IpAddr, u32)>,
}

/// Makes the kernel report the destination of datagrams.
pub fn want_destination(socket: &Socket, reply_from: ReplyFrom) -> io::Result<()> {
    if reply_from == ReplyFrom::Anywhere {
        return Ok(());
    }
    if is_v4(socket)? {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

/// The next datagram; `None` when the socket was shut down.
pub fn receive(socket: &Socket) -> io::Result<Option<Question>> {
    let mut text = [0; 512];
    let mut parts = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    let asked = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let address = IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes());
            Some((address, u32::try_from(info.ipi_ifindex).ok()?))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some((IpAddr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex))
        }
        _ => None,
    });
    // No lab client sends empty datagrams.
    if message.bytes == 0 {
        return Ok(None);
    }
    Ok(message.address.map(|from| Question { from, asked }))
}

/// Answers a datagram in the server's manner.
pub fn answer(
    socket: &Socket,
    question: &Question,
    text: &[u8],
    reply_from: ReplyFrom,
) -> io::Result<()> {
    let interface = |asked: u32| match reply_from {
        ReplyFrom::AskedAddressAndInterface => asked,
        ReplyFrom::AskedAddress | ReplyFrom::Anywhere => 0,
    };
    let send = |control: &[ControlMessage<'_>]| {
        let parts = [IoSlice::new(text)];
        sendmsg(
            socket.as_raw_fd(),
            &parts,
            control,
            MsgFlags::empty(),
            Some(&question.from),
        )
    };
    match question.asked {
        None => send(&[]),
        Some((IpAddr::V4(address), asked)) => {
            let info = in_pktinfo {
                ipi_ifindex: i32::try_from(interface(asked)).map_err(io::Error::other)?,
                ipi_spec_dst: in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some((IpAddr::V6(address), asked)) => {
            let info = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: interface(asked),
            };
            send(&[ControlMessage::Ipv6PacketInfo(&info)])
        }
    }?;
    Ok(())
}

fn is_v4(socket: &Socket) -> io::Result<bool> {
    let address: Option<SocketAddr> = socket.local_addr()?.as_socket();
    Ok(address.is_some_and(|address| address.is_ipv4()))
}
