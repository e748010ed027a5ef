//! What a gate is asked to do: the VRFs of a namespace and the rules of each. Plain values.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{PortRange, Prefix, Protocol, overlap::refuse_overlaps};

/// What the gate does with a packet of a VRF that no rule lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Posture {
    /// Refuse it: the client sees a closed port.
    #[serde(rename = "Enforce")]
    Enforced,
    /// Let it in, and count that it would have been refused.
    #[serde(rename = "Audit")]
    Audited,
    /// Whatever the namespace's sysctls said before the gate came: refuse it where they were 0, let it in
    /// uncounted where they were 1. For VRFs that nobody has said anything about.
    AsBefore,
}

/// As `spec.mode` of a leak has it.
impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enforced => "Enforce",
            Self::Audited => "Audit",
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
    pub sources: Vec<Prefix>,
}

/// Ports of local addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The service's protocol.
    pub protocol: Protocol,
    /// Local ports.
    pub ports: PortRange,
    /// Local addresses of the namespace.
    pub addresses: Vec<IpAddr>,
    /// Prefixes of which every address is local to the namespace (`AnyIP`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
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

    /// Whether it opens a port of an address, to whomever.
    #[must_use]
    pub fn lists(&self, protocol: Protocol, port: u16, address: IpAddr) -> bool {
        let mut opens = self.opens.iter();
        opens.any(|opening| opening.protocol == protocol && opening.holds(port, address))
    }

    /// Whether a client may use it.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|prefix| prefix.contains(client))
    }

    /// Whether any opening is of prefixes that are local as a whole.
    #[must_use]
    pub fn has_prefixes(&self) -> bool {
        self.opens
            .iter()
            .any(|opening| !opening.prefixes.is_empty())
    }
}

impl Opening {
    /// Whether it opens a port of an address.
    #[must_use]
    pub fn holds(&self, port: u16, address: IpAddr) -> bool {
        self.ports.contains(port)
            && (self.addresses.contains(&address)
                || self.prefixes.iter().any(|prefix| prefix.contains(address)))
    }
}

/// `22/TCP`, or `8000-8010/UDP`.
impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ports, self.protocol)
    }
}

/// A VRF device of the namespace. While it is in a [`RuleSet`], nothing unlisted passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// Name of the device, for people. Counters follow it when the device is made anew.
    pub name: String,
    /// What happens to packets that no rule lists.
    pub posture: Posture,
    /// No two may open the same port of the same address.
    pub rules: Vec<Rule>,
}

/// Everything a gate does in its namespace: a [`Vrf`] for each VRF device. Its rules go together, or it would not be there.
///
/// A VRF device that is not in the set is not gated at all: name every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    vrfs: BTreeMap<u32, Vrf>,
    slaves: BTreeMap<u32, u32>,
}

impl RuleSet {
    /// Of VRF devices by ifindex, and the VRF device that each slave belongs to, both by ifindex: what is bound to a slave
    /// listens to its VRF, and what this host sends to itself through a slave came through its VRF.
    pub fn new(vrfs: BTreeMap<u32, Vrf>, slaves: BTreeMap<u32, u32>) -> Result<Self, RuleError> {
        let mut names = HashSet::new();
        for vrf in vrfs.values() {
            refuse_twice(&mut names, &vrf.name)?;
            let mut names = HashSet::new();
            vrf.rules
                .iter()
                .try_for_each(|rule| refuse_twice(&mut names, &rule.name))?;
            refuse_overlaps(vrf)?;
        }
        Ok(Self { vrfs, slaves })
    }

    /// By ifindex of the VRF device.
    #[must_use]
    pub const fn vrfs(&self) -> &BTreeMap<u32, Vrf> {
        &self.vrfs
    }

    /// The VRF device that each slave belongs to, both by ifindex.
    #[must_use]
    pub const fn slaves(&self) -> &BTreeMap<u32, u32> {
        &self.slaves
    }

    /// Those of the rules that `keep` holds for, by the name of their VRF.
    #[must_use]
    pub fn only(&self, mut keep: impl FnMut(&str, &Rule) -> bool) -> Self {
        let mut kept = self.clone();
        for Vrf { name, rules, .. } in kept.vrfs.values_mut() {
            rules.retain(|rule| keep(name, rule));
        }
        kept
    }

    /// The same with every VRF enforced.
    #[must_use]
    pub fn enforced(mut self) -> Self {
        for vrf in self.vrfs.values_mut() {
            vrf.posture = Posture::Enforced;
        }
        self
    }

    /// Whether any rule is for `protocol`.
    #[must_use]
    pub fn uses(&self, protocol: Protocol) -> bool {
        self.vrfs
            .values()
            .flat_map(|vrf| &vrf.rules)
            .flat_map(|rule| &rule.opens)
            .any(|opening| opening.protocol == protocol)
    }
}

fn refuse_twice<'a>(names: &mut HashSet<&'a str>, name: &'a str) -> Result<(), RuleError> {
    if names.insert(name) {
        Ok(())
    } else {
        Err(RuleError::DuplicateName(name.to_owned()))
    }
}

/// Why rules don't go together.
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
}
