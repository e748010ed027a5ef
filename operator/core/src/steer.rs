//! Reply steering: which questions to UDP services are remembered by the VRF they came from, so that their
//! answers find the way back into it.
//!
//! A VRF that is steered has a number of its own. It stands in the connection's entry (as a conntrack zone)
//! and in the mark of each answer, by which a policy rule finds the VRF's table. Knows nothing of nftables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use thiserror::Error;

use super::{
    GatedVrf, Leak, LeakName, LinkKind, NodeFacts, OpenService, Protocol, Replies, facts::Domain,
};

/// Zones that mark our connections are this and the VRF's number: high enough to be out of the way of zones
/// that people count from 1, and told apart at a glance (0x76 is 118, the protocol number of our routes).
const FIRST_ZONE: u16 = 0x7600;

/// Whether a zone is one that steering gives.
#[must_use]
pub fn is_zone(zone: u16) -> bool {
    zone.checked_sub(FIRST_ZONE)
        .is_some_and(|number| (1..=MOST_VRFS).contains(&number.into()))
}

/// More VRFs than that can't be steered in one namespace.
const MOST_VRFS: u32 = 0xff;

/// The bits of packets' marks that steering may use: contiguous, at least one.
///
/// The default is 0x7f. Above it, bit 7 is the AWS VPC CNI's, 0x0f00 and 0xffff0000 are Cilium's, 0xc000 is
/// kube-proxy's, 0xffff0000 is Calico's by default. Only answers of steered services carry the marks, and
/// numbers are given from the highest down, because marks made by hand count from 1 up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkMask(u32);

/// Why a text is not a [`MarkMask`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MaskError {
    /// Not a number of 32 bits.
    #[error("{0:?} is not a mask such as 0x7f or 0xff0000")]
    Malformed(String),
    /// No bit at all.
    #[error(
        "a mask without bits has no room for a mark; write 0x7f, or bits that nobody else uses"
    )]
    Empty,
    /// Bits with gaps between.
    #[error("{0:#x} has gaps; the bits must be next to each other, as in 0x7f or 0xff0000")]
    Gaps(u32),
}

impl MarkMask {
    /// How many VRFs can be told apart.
    #[must_use]
    pub fn room(self) -> u32 {
        self.highest().min(MOST_VRFS)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    const fn highest(self) -> u32 {
        self.0 >> self.0.trailing_zeros()
    }

    /// The mark of the VRF with a number from 1 to [`MarkMask::room`].
    fn mark(self, number: u32) -> u32 {
        (self.highest() - (number - 1)) << self.0.trailing_zeros()
    }
}

impl Default for MarkMask {
    fn default() -> Self {
        Self(0x7f)
    }
}

impl FromStr for MarkMask {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, MaskError> {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let bits = parsed.map_err(|_| MaskError::Malformed(text.to_owned()))?;
        if bits == 0 {
            return Err(MaskError::Empty);
        }
        let mask = Self(bits);
        if mask
            .highest()
            .checked_add(1)
            .is_some_and(|above| !above.is_power_of_two())
        {
            return Err(MaskError::Gaps(bits));
        }
        Ok(mask)
    }
}

impl fmt::Display for MarkMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A VRF whose leaks ask for steering, and what of theirs there is to steer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeredVrf {
    /// Name as the kernel gives it.
    pub name: String,
    /// Index of the VRF device.
    pub ifindex: u32,
    /// Number of its routing table.
    pub table: u32,
    /// Where its packets come in: its slaves, and the VRF device itself for clients on this host.
    pub ingress: BTreeSet<u32>,
    /// UDP services that are open somewhere, in the order of the leaks.
    pub services: Vec<OpenService>,
    /// This host's own addresses among the VRF's clients. The main table must know some way towards them:
    /// without one, a server's answer fails before there is a packet to steer.
    pub among_clients: BTreeSet<IpAddr>,
}

/// A steered VRF and what its packets are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedVrf {
    /// The VRF.
    pub vrf: SteeredVrf,
    /// What its answers carry in the bits of the mask.
    pub mark: u32,
    /// Zone of its questions in the kernel's table of connections.
    pub zone: u16,
}

/// The steering of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// The bits that marks are made of.
    pub mask: MarkMask,
    /// VRFs that are steered.
    pub vrfs: Vec<MarkedVrf>,
    /// Names of VRFs that the mask has no room for.
    pub left_out: Vec<String>,
}

impl SteeredVrf {
    /// Whether any service answers from an address of this family.
    #[must_use]
    pub fn has_family(&self, ipv4: bool) -> bool {
        self.services.iter().any(|service| {
            let prefixes = service.prefixes.iter().map(|prefix| prefix.network());
            let mut addresses = service.addresses.iter().copied().chain(prefixes);
            addresses.any(|address: IpAddr| address.is_ipv4() == ipv4)
        })
    }
}

impl Steering {
    /// Gives each VRF its number. A routing table that has a mark in force (`in_force`, by table) keeps it,
    /// whatever other VRFs come and go; a new one gets the first that is free.
    #[must_use]
    pub fn assign(vrfs: &[SteeredVrf], mask: MarkMask, in_force: &BTreeMap<u32, u32>) -> Self {
        let tables: BTreeSet<u32> = vrfs.iter().map(|vrf| vrf.table).collect();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        let mut free: BTreeSet<u32> = (1..=mask.room()).collect();
        for table in &tables {
            let kept = in_force
                .get(table)
                .and_then(|mark| (1..=mask.room()).find(|number| mask.mark(*number) == *mark));
            if let Some(number) = kept.filter(|number| free.remove(number)) {
                numbers.insert(*table, number);
            }
        }
        for table in &tables {
            if !numbers.contains_key(table)
                && let Some(number) = free.pop_first()
            {
                numbers.insert(*table, number);
            }
        }
        let mut steering = Self {
            mask,
            vrfs: Vec::new(),
            left_out: Vec::new(),
        };
        for vrf in vrfs {
            let number = numbers.get(&vrf.table);
            match number.and_then(|number| Some((*number, u16::try_from(*number).ok()?))) {
                Some((number, offset)) => steering.vrfs.push(MarkedVrf {
                    vrf: vrf.clone(),
                    mark: mask.mark(number),
                    zone: FIRST_ZONE + offset,
                }),
                None => steering.left_out.push(vrf.name.clone()),
            }
        }
        steering
    }
}

/// The VRFs that leaks ask to be steered, with at least one service open.
pub(super) fn steered_vrfs(
    leaks: &[Leak],
    facts: &NodeFacts,
    vrfs: &[GatedVrf],
) -> Vec<SteeredVrf> {
    let steering: BTreeSet<&LeakName> = leaks
        .iter()
        .filter(|leak| leak.replies == Replies::Steer)
        .map(|leak| &leak.name)
        .collect();
    let steered = vrfs.iter().filter_map(|vrf| {
        let services: Vec<OpenService> = vrf
            .services
            .iter()
            .filter(|service| service.protocol == Protocol::Udp)
            .filter(|service| steering.contains(&service.leak))
            .filter(|service| !service.addresses.is_empty() || !service.prefixes.is_empty())
            .cloned()
            .collect();
        let link = facts
            .links
            .iter()
            .find(|link| link.ifindex == vrf.ifindex)?;
        // A VRF whose table is unknown is told of by its leaks.
        let LinkKind::Vrf { table: Some(table) } = link.kind else {
            return None;
        };
        let own = facts
            .placed_addresses()
            .into_iter()
            .filter(|(_, domain)| *domain == Domain::Vrf(vrf.ifindex))
            .map(|(address, _)| address)
            .filter(|address| match address {
                IpAddr::V4(address) => !address.is_loopback(),
                IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
            });
        let slaves = facts
            .links
            .iter()
            .filter(|link| link.master == Some(vrf.ifindex))
            .map(|link| link.ifindex);
        (!services.is_empty()).then(|| SteeredVrf {
            name: vrf.name.clone(),
            ifindex: vrf.ifindex,
            table,
            ingress: slaves.chain([vrf.ifindex]).collect(),
            services,
            among_clients: own.collect(),
        })
    });
    steered.collect()
}
