//! What a gate is asked to do: the VRFs of a namespace and the rules of each. Plain values.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::IpAddr,
    ops::RangeInclusive,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vrfgate_abi::PortBlocks;

use crate::overlap::refuse_overlaps;

/// A transport protocol the gate decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// New connections.
    Tcp,
    /// Datagrams to unconnected sockets.
    Udp,
}

impl Protocol {
    /// Number of the protocol in an IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => vrfgate_abi::TCP,
            Self::Udp => vrfgate_abi::UDP,
        }
    }

    /// The protocol with this number, if the gate knows it.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            vrfgate_abi::TCP => Some(Self::Tcp),
            vrfgate_abi::UDP => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// What the gate does with a packet that no rule lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Refuse it: the client sees a closed port.
    #[default]
    Enforce,
    /// Let it in, and count that it would have been refused.
    Audit,
    /// Whatever the namespace's sysctls said before the gate came: refuse it where they were 0, let it in
    /// uncounted where they were 1. For VRFs that nobody has said anything about.
    AsBefore,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enforce => "Enforce",
            Self::Audit => "Audit",
            Self::AsBefore => "AsBefore",
        })
    }
}

/// One service opened to one VRF, at one or several places: counted together, and open to the same clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique within the VRF. Counters follow the name when the rest of a rule changes.
    pub name: String,
    /// What is opened. Two openings of one rule may open the same.
    pub opens: Vec<Opening>,
    /// Clients that may use the rule; empty means any client of the VRF.
    pub sources: Vec<IpNet>,
}

/// Ports of local addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The service's protocol.
    pub protocol: Protocol,
    /// Local ports.
    pub ports: RangeInclusive<u16>,
    /// Local addresses of the namespace.
    pub addresses: Vec<IpAddr>,
    /// Prefixes of which every address is local to the namespace (`AnyIP`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<IpNet>,
}

impl Rule {
    /// A rule that opens ports of addresses to every client of the VRF.
    #[must_use]
    pub fn new(name: impl Into<String>, opening: Opening) -> Self {
        Self {
            name: name.into(),
            opens: vec![opening],
            sources: Vec::new(),
        }
    }

    /// Whether any opening is of prefixes that are local as a whole.
    pub(crate) fn has_prefixes(&self) -> bool {
        self.opens
            .iter()
            .any(|opening| !opening.prefixes.is_empty())
    }
}

impl Opening {
    /// Whether it opens a port of an address.
    #[must_use]
    pub fn holds(&self, port: u16, address: IpAddr) -> bool {
        self.ports.contains(&port)
            && (self.addresses.contains(&address)
                || self.prefixes.iter().any(|prefix| prefix.contains(&address)))
    }

    /// The blocks of ports that map keys are made of.
    pub(crate) fn blocks(&self) -> PortBlocks {
        PortBlocks::new(*self.ports.start(), *self.ports.end())
    }
}

/// `22/TCP`, or `8000-8010/UDP`.
impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        if first == last {
            write!(f, "{first}/{}", self.protocol)
        } else {
            write!(f, "{first}-{last}/{}", self.protocol)
        }
    }
}

/// A VRF device of the namespace. While it is in a [`RuleSet`], nothing unlisted passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// Name of the device, for people. Counters follow it when the device is made anew.
    pub name: String,
    /// What happens to packets that no rule lists.
    pub mode: Mode,
    /// No two may open the same port of the same address.
    pub rules: Vec<Rule>,
}

/// Everything a gate does in its namespace: a [`Vrf`] for each VRF device, by ifindex.
///
/// A VRF device that is not in the set is not gated at all: name every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// By ifindex of the VRF device.
    pub vrfs: BTreeMap<u32, Vrf>,
    /// The VRF device that each slave belongs to, both by ifindex: what is bound to a slave listens to its VRF, and what
    /// this host sends to itself through a slave came through its VRF.
    pub slaves: BTreeMap<u32, u32>,
}

impl RuleSet {
    /// Whether any rule is for `protocol`.
    #[must_use]
    pub fn uses(&self, protocol: Protocol) -> bool {
        self.vrfs
            .values()
            .flat_map(|vrf| &vrf.rules)
            .flat_map(|rule| &rule.opens)
            .any(|opening| opening.protocol == protocol)
    }

    /// The entries that the rules take in the maps of a gate, at most.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for vrf in self.vrfs.values() {
            needs.counters += 1;
            for rule in &vrf.rules {
                needs.counters += 1;
                needs.sources += rule.sources.len();
                for opening in &rule.opens {
                    let blocks = opening.blocks().count();
                    needs.rules += blocks * opening.addresses.len();
                    needs.prefix_rules += blocks * opening.prefixes.len();
                }
            }
        }
        needs
    }

    /// Looks whether the rules go together, whatever a gate has room for.
    pub fn check(&self) -> Result<(), RuleError> {
        self.vrfs.values().try_for_each(|vrf| {
            let mut names = HashSet::new();
            match vrf.rules.iter().find(|rule| !names.insert(&rule.name)) {
                Some(rule) => Err(RuleError::DuplicateName(rule.name.clone())),
                None => refuse_overlaps(vrf),
            }
        })
    }
}

/// Entries of a gate's maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Slots of `counters`: one a rule and one a VRF.
    pub counters: usize,
    /// Entries of `rules`: one for each local address and block of ports.
    pub rules: usize,
    /// Entries of `prefix_rules`: one for each local prefix and block of ports.
    pub prefix_rules: usize,
    /// Entries of `sources`: one for each source prefix of each restricted rule.
    pub sources: usize,
}

impl Needs {
    /// What both take together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            counters: self.counters + other.counters,
            rules: self.rules + other.rules,
            prefix_rules: self.prefix_rules + other.prefix_rules,
            sources: self.sources + other.sources,
        }
    }

    /// Refuses what doesn't fit into `room`.
    pub fn check(self, room: Self) -> Result<(), RuleError> {
        for (map, needed, capacity) in [
            ("counters", self.counters, room.counters),
            ("rules", self.rules, room.rules),
            ("prefix_rules", self.prefix_rules, room.prefix_rules),
            ("sources", self.sources, room.sources),
        ] {
            if needed > capacity {
                return Err(RuleError::Full {
                    map,
                    needed,
                    capacity,
                });
            }
        }
        Ok(())
    }
}

/// Why a [`RuleSet`] can't be put into a gate. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Two rules claim the same packets.
    #[error(
        "VRF {vrf}: rules {first} and {second} both open {address} {port}/{protocol}; \
         remove one of them or narrow its ports or addresses"
    )]
    Overlap {
        /// Name of the VRF device.
        vrf: String,
        /// Name of a rule.
        first: String,
        /// Name of the other.
        second: String,
        /// A local address both open.
        address: IpAddr,
        /// The first port both open.
        port: u16,
        /// The protocol of both.
        protocol: Protocol,
    },
    /// Two rules of a VRF, or two VRFs, have one name.
    #[error("the name {0} is given twice; names are how counters are kept")]
    DuplicateName(String),
    /// The rules need more room than the gate's maps have.
    #[error(
        "the rules need {needed} entries of the gate's map of {map} and it holds {capacity}; \
         name fewer addresses, or port ranges that begin and end at multiples of a power of two"
    )]
    Full {
        /// Name of the BPF map.
        map: &'static str,
        /// Entries the rule set needs.
        needed: usize,
        /// Entries the map can hold.
        capacity: usize,
    },
    /// There are more slaves than the gate's map has room for.
    #[error(
        "{needed} devices are slaves of VRFs, and a gate can know {capacity}; put some of them under one bridge or bond, and that into the VRF"
    )]
    ManySlaves {
        /// Slaves of all VRFs of the namespace.
        needed: usize,
        /// Entries the map can hold.
        capacity: usize,
    },
}
