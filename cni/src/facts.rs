//! Links and addresses of a namespace, as the plugin needs them.

use std::{collections::BTreeSet, io, net::IpAddr};

use vrfgate_ebpf::{
    Netns,
    netlink::{self, LinkKind, Socket},
};

pub use vrfgate_ebpf::netlink::LocalAddress;

use crate::Attachment;

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

impl From<netlink::Link> for Link {
    fn from(link: netlink::Link) -> Self {
        Self {
            ifindex: link.ifindex,
            name: link.name,
            is_vrf: matches!(link.kind, LinkKind::Vrf { .. }),
            master: link.master,
        }
    }
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
        let mut socket = Socket::route(netns)?;
        let links = netlink::links(&mut socket)?;
        Ok(Self {
            links: links.into_iter().map(Link::from).collect(),
            addresses: netlink::addresses(&mut socket)?,
        })
    }

    /// Whether the namespace has a VRF, asked with as little as can be.
    pub(crate) fn any_vrf(netns: &Netns) -> io::Result<bool> {
        let links = netlink::links(&mut Socket::route(netns)?)?;
        Ok(links
            .iter()
            .any(|link| matches!(link.kind, LinkKind::Vrf { .. })))
    }

    /// The addresses of a namespace, in order.
    pub(crate) fn addresses_of(netns: &Netns) -> io::Result<Vec<IpAddr>> {
        let addresses = netlink::addresses(&mut Socket::route(netns)?)?;
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(|local| local.address).collect();
        Ok(addresses.into_iter().collect())
    }

    /// The same, of which only the addresses are there that were there for one of these attachments at its ADD.
    pub(crate) fn known_to(mut self, attachments: &[Attachment]) -> Self {
        let known: BTreeSet<IpAddr> = attachments
            .iter()
            .flat_map(|attachment| attachment.addresses.iter().copied())
            .collect();
        self.addresses
            .retain(|local| known.contains(&local.address));
        self
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
