//! Which VRF a device is in, as the kernel's `l3mdev_master_ifindex_by_index()` has it, by rtnetlink.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, InfoPortKind, LinkAttribute, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::Netns;

/// Whose packets a socket gets that is bound to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Those of this VRF.
    Vrf(u32),
    /// Those of a device that is in no VRF.
    None,
    /// The device is gone and may have been a VRF, or the kernel's answer can't be read.
    Unknown,
}

/// Where one device belongs.
pub(crate) fn of(netns: &Netns, device: u32) -> io::Result<Membership> {
    let socket = netns.run(|| Socket::new(NETLINK_ROUTE))??;
    let mut question = LinkMessage::default();
    question.header.index = device;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let question = NetlinkPayload::from(RouteNetlinkMessage::GetLink(question));
    let mut message = NetlinkMessage::new(header, question);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let Ok(answer) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer) else {
        return Ok(Membership::Unknown);
    };
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            Ok(membership(device, &link))
        }
        NetlinkPayload::Error(error) => match error.to_io() {
            error if error.raw_os_error() == Some(libc::ENODEV) => Ok(Membership::Unknown),
            error => Err(error),
        },
        _ => Ok(Membership::Unknown),
    }
}

fn membership(device: u32, link: &LinkMessage) -> Membership {
    let mut master = None;
    let (mut is_vrf, mut enslaved) = (false, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Controller(controller) => master = Some(*controller),
            LinkAttribute::LinkInfo(infos) => {
                is_vrf = infos.contains(&LinkInfo::Kind(InfoKind::Vrf));
                enslaved = infos
                    .iter()
                    .any(|info| matches!(info, LinkInfo::PortKind(InfoPortKind::Vrf)));
            }
            _ => {}
        }
    }
    match master {
        _ if is_vrf => Membership::Vrf(device),
        Some(master) if enslaved => Membership::Vrf(master),
        _ => Membership::None,
    }
}
