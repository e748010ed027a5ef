//! What a namespace looks like: its links and local addresses, as netlink tells them.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::Prefix;

/// Snapshot of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Every link, in any order.
    pub links: Vec<Link>,
    /// Every local address, in any order. One address may be on several links.
    pub addresses: Vec<LocalAddress>,
    /// Prefixes that are local to the main domain as a whole, in any order.
    pub prefixes: Vec<LocalPrefix>,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index within the namespace, above zero.
    pub ifindex: u32,
    /// Name as the kernel gives it.
    pub name: String,
    /// What matters here of the device's type.
    pub kind: LinkKind,
    /// Ifindex of the device that this one is enslaved to (VRF, bridge, bond, …).
    pub master: Option<u32>,
}

impl Link {
    /// Whether the device is a VRF.
    #[must_use]
    pub const fn is_vrf(&self) -> bool {
        matches!(self.kind, LinkKind::Vrf { .. })
    }
}

/// The device types that make a difference to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A VRF and the routing table that belongs to it.
    Vrf {
        /// Number of the routing table; `None` where the kernel's answer doesn't tell.
        table: Option<u32>,
    },
    /// Any other device.
    Other,
}

/// An address of this namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The link that holds it.
    pub ifindex: u32,
    /// The address, without its prefix length.
    pub address: IpAddr,
}

/// A prefix of which every address is delivered here: `ip route add local 203.0.113.0/24 dev lo`, `AnyIP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPrefix {
    /// The device that its route names.
    pub ifindex: u32,
    /// More than one address.
    pub prefix: Prefix,
}

/// The routing domain that a link, and so its addresses, belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// No VRF above it.
    Main,
    /// The VRF device with this ifindex is the link itself, or above it.
    Vrf(u32),
    /// The facts do not tell: taken while the host was changing. A later snapshot will tell.
    Unknown,
}

impl NodeFacts {
    /// Local addresses of the main domain.
    pub(super) fn main_addresses(&self) -> Vec<LocalAddress> {
        let links = self.by_ifindex();
        self.addresses
            .iter()
            .filter(|local| domain(local.ifindex, &links) == Domain::Main)
            .copied()
            .collect()
    }

    /// The addresses that a VRF holds itself, on its device and what is below it; and those of the main domain.
    #[must_use]
    pub fn addresses_around(&self, vrf: u32) -> [BTreeSet<IpAddr>; 2] {
        let placed = self.placed_addresses();
        [Domain::Vrf(vrf), Domain::Main].map(|wanted| {
            let here = placed.iter().filter(|(_, domain)| *domain == wanted);
            here.map(|(address, _)| *address).collect()
        })
    }

    /// Every local address and the domain of the link that holds it.
    pub(super) fn placed_addresses(&self) -> Vec<(IpAddr, Domain)> {
        let links = self.by_ifindex();
        self.addresses
            .iter()
            .map(|local| (local.address, domain(local.ifindex, &links)))
            .collect()
    }

    /// Whether an address is one of this host's that a process inside a VRF may send from: the VRF's own, or the main
    /// domain's.
    #[must_use]
    pub fn is_own(&self, address: IpAddr, vrf: u32) -> bool {
        self.placed_addresses().into_iter().any(|(own, domain)| {
            own == address && (domain == Domain::Vrf(vrf) || domain == Domain::Main)
        })
    }

    /// Takes note of a device as it is now. True when a VRF is new, or has another name or table, or when a VRF has got
    /// or lost a slave.
    pub fn update_link(&mut self, link: Link) -> bool {
        if self.links.contains(&link) {
            return false;
        }
        let vrf_above = |link: &Link| {
            let master = self.links.iter().find(|it| Some(it.ifindex) == link.master);
            master.filter(|it| it.is_vrf()).map(|it| it.ifindex)
        };
        let before = self.links.iter().find(|it| it.ifindex == link.ifindex);
        let was_vrf = before.is_some_and(Link::is_vrf);
        let concerns_a_vrf =
            link.is_vrf() || was_vrf || before.and_then(vrf_above) != vrf_above(&link);
        // A name that has been given away is another device's now.
        self.links
            .retain(|it| it.ifindex != link.ifindex && it.name != link.name);
        self.links.push(link);
        concerns_a_vrf
    }

    /// Ifindexes of the devices right below another one, in order.
    pub(super) fn slaves_of(&self, master: u32) -> Vec<u32> {
        let slaves = self.links.iter().filter(|link| link.master == Some(master));
        let mut slaves: Vec<u32> = slaves.map(|link| link.ifindex).collect();
        slaves.sort_unstable();
        slaves
    }

    fn by_ifindex(&self) -> HashMap<u32, &Link> {
        self.links.iter().map(|link| (link.ifindex, link)).collect()
    }
}

/// The domain of a link, looking through bridges, bonds and the like for a VRF.
fn domain(ifindex: u32, links: &HashMap<u32, &Link>) -> Domain {
    let mut at = ifindex;
    // A chain of masters visits each link at most once; a longer one is a loop.
    for _ in 0..links.len() {
        let Some(link) = links.get(&at) else {
            return Domain::Unknown;
        };
        match (link.kind, link.master) {
            (LinkKind::Vrf { .. }, _) => return Domain::Vrf(at),
            (LinkKind::Other, Some(master)) => at = master,
            (LinkKind::Other, None) => return Domain::Main,
        }
    }
    Domain::Unknown
}
