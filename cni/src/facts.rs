//! Links and addresses of a namespace, by rtnetlink and without a runtime: the plugin has no time to start one.

use std::{io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use vrfgate_ebpf::Netns;

/// A device of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Whether it is a VRF.
    pub is_vrf: bool,
    /// Number of the device that it is enslaved to.
    pub master: Option<u32>,
}

/// An address of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The device that holds it.
    pub ifindex: u32,
    /// The address, without its prefix length.
    pub address: IpAddr,
}

/// What a namespace looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every device, in any order.
    pub links: Vec<Link>,
    /// Every address, in any order.
    pub addresses: Vec<LocalAddress>,
}

impl Facts {
    /// What the namespace looks like now.
    pub fn of(netns: &Netns) -> io::Result<Self> {
        let socket = open(netns)?;
        Ok(Self {
            links: links(&socket)?,
            addresses: addresses(&socket)?,
        })
    }

    /// Whether the namespace has a VRF, asked with as little as can be.
    pub(crate) fn any_vrf(netns: &Netns) -> io::Result<bool> {
        Ok(links(&open(netns)?)?.iter().any(|link| link.is_vrf))
    }

    /// The VRF devices.
    pub fn vrfs(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| link.is_vrf)
    }

    /// The devices right below another one.
    pub fn slaves_of(&self, master: u32) -> impl Iterator<Item = &Link> {
        self.links
            .iter()
            .filter(move |link| link.master == Some(master))
    }

    /// The addresses that packets of a VRF can have: the main domain's and the VRF's own. Those of other VRFs are
    /// none of its business.
    pub fn reachable_from(&self, vrf: u32) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(move |local| match self.domain(local.ifindex) {
                Domain::Main => true,
                Domain::Vrf(domain) => domain == vrf,
                Domain::Unknown => false,
            })
            .map(|local| local.address)
    }

    /// The routing domain of a device, through bridges, bonds and the like.
    fn domain(&self, ifindex: u32) -> Domain {
        let mut at = ifindex;
        // A chain of masters visits each device at most once; a longer one is a loop.
        for _ in 0..self.links.len() {
            match self.links.iter().find(|link| link.ifindex == at) {
                None => return Domain::Unknown,
                Some(link) if link.is_vrf => return Domain::Vrf(at),
                Some(Link {
                    master: Some(master),
                    ..
                }) => at = *master,
                Some(_) => return Domain::Main,
            }
        }
        Domain::Unknown
    }
}

enum Domain {
    Main,
    Vrf(u32),
    /// Links and addresses were read one after the other, and a device came or went in between.
    Unknown,
}

fn open(netns: &Netns) -> io::Result<Socket> {
    netns.run(|| Socket::new(NETLINK_ROUTE))?
}

fn links(socket: &Socket) -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    dump(
        socket,
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        |message| {
            if let RouteNetlinkMessage::NewLink(message) = message {
                links.push(link(&message));
            }
        },
    )?;
    Ok(links)
}

fn addresses(socket: &Socket) -> io::Result<Vec<LocalAddress>> {
    let mut addresses = Vec::new();
    dump(
        socket,
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        |message| {
            if let RouteNetlinkMessage::NewAddress(message) = message {
                addresses.extend(local_address(&message));
            }
        },
    )?;
    Ok(addresses)
}

fn dump(
    socket: &Socket,
    question: RouteNetlinkMessage,
    mut each: impl FnMut(RouteNetlinkMessage),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // Messages begin at multiples of four bytes (NLMSG_ALIGN of <linux/netlink.h>).
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(message) => each(message),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        is_vrf: false,
        master: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(master) if *master != 0 => link.master = Some(*master),
            LinkAttribute::LinkInfo(info) => {
                link.is_vrf = info.contains(&LinkInfo::Kind(InfoKind::Vrf));
            }
            _ => {}
        }
    }
    link
}

fn local_address(message: &AddressMessage) -> Option<LocalAddress> {
    // Of a point-to-point IPv4 link, `Address` is the peer's and `Local` ours; elsewhere only one is there
    // or both are the same (rtnetlink(7)).
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(local) => Some(*local),
            _ => None,
        });
    let address = local.or_else(|| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
    });
    Some(LocalAddress {
        ifindex: message.header.index,
        address: address?,
    })
}
