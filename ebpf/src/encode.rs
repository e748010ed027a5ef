//! From rules to map entries and back. Pure: touches no map.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use vrfgate_abi::{
    IPV4, IPV6, LARGEST_BLOCK, PortBlock, PrefixRule, RULE_RESTRICTED, RuleKey, RuleValue, Source,
    VRF_AS_BEFORE, VRF_AUDIT, VRF_OPEN_TCP, VRF_OPEN_UDP, VRF_PREFIXES, VrfPolicy,
};
use vrfgate_core::{Opening, PortRange, Posture, Prefix, Protocol, Rule, RuleSet, Vrf};

use crate::{
    L3mdevAccept,
    room::{RoomError, blocks},
    slots::{Allocation, Slots},
};

/// A prefix of the `sources` map: its length in bits of the key, and its data.
pub(crate) type SourcePrefix = (u32, Source);

/// A prefix of the `prefix_rules` map, likewise.
pub(crate) type RulePrefix = (u32, PrefixRule);

/// Contents of the gate's maps, whether wanted or found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) vrfs: BTreeMap<u32, VrfPolicy>,
    /// The VRF of each slave, both by ifindex.
    pub(crate) slaves: BTreeMap<u32, u32>,
    pub(crate) rules: HashMap<RuleKey, RuleValue>,
    pub(crate) prefix_rules: HashMap<RulePrefix, RuleValue>,
    pub(crate) sources: HashSet<SourcePrefix>,
}

/// The content of entries that any program may have written: they need not fit each other. Both by ifindex.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) vrfs: BTreeMap<u32, Vrf>,
    pub(crate) slaves: BTreeMap<u32, u32>,
}

impl Tables {
    /// Entries that put `set` into force in a namespace that had `former` before the gate, with counter
    /// slots taken from `slots`.
    pub(crate) fn encode(
        set: &RuleSet,
        former: L3mdevAccept,
        slots: &mut Allocation<'_>,
    ) -> Result<Self, RoomError> {
        let mut tables = Self::default();
        for (&ifindex, vrf) in set.vrfs() {
            let mut policy = VrfPolicy {
                flags: flags(vrf.posture, former),
                counter: slots.take(&vrf.name, None)?,
                tcp_blocks: 0,
                udp_blocks: 0,
            };
            for rule in &vrf.rules {
                let slot = slots.take(&vrf.name, Some(&rule.name))?;
                tables.add_rule(ifindex, rule, slot, &mut policy);
            }
            tables.vrfs.insert(ifindex, policy);
        }
        tables.slaves = gated_slaves(set);
        Ok(tables)
    }

    /// Every counter slot that the entries use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let vrfs = self.vrfs.values().map(|policy| policy.counter);
        vrfs.chain(self.rules.values().map(|value| value.rule))
            .chain(self.prefix_rules.values().map(|value| value.rule))
    }

    /// The slot that a rule has, by its first entry; `None` for one that has none.
    pub(crate) fn slot_of(&self, vrf: u32, rule: &Rule) -> Option<u32> {
        rule.opens.iter().find_map(|opening| {
            let block = blocks(opening.ports).next()?;
            let value = if let Some(&address) = opening.addresses.first() {
                self.rules.get(&key(vrf, opening, block, address))
            } else {
                self.prefix_rules
                    .get(&prefix_key(vrf, opening, block, *opening.prefixes.first()?))
            };
            value.map(|value| value.rule)
        })
    }

    /// Adds the entries of a rule that is counted in `slot`, and to the policy of its VRF how they are found.
    pub(crate) fn add_rule(&mut self, vrf: u32, rule: &Rule, slot: u32, policy: &mut VrfPolicy) {
        let value = RuleValue {
            rule: slot,
            flags: if rule.sources.is_empty() {
                0
            } else {
                RULE_RESTRICTED
            },
        };
        if rule.has_prefixes() {
            policy.flags |= VRF_PREFIXES;
        }
        for opening in &rule.opens {
            for block in blocks(opening.ports) {
                *blocks_of(policy, opening.protocol) |= 1 << block.size;
                for &address in &opening.addresses {
                    self.rules.insert(key(vrf, opening, block, address), value);
                }
                for &net in &opening.prefixes {
                    self.prefix_rules
                        .insert(prefix_key(vrf, opening, block, net), value);
                }
            }
        }
        self.sources
            .extend(rule.sources.iter().map(|&net| source_prefix(slot, net)));
    }

    /// The rules of these entries. Names come from `slots`, because entries hold none.
    pub(crate) fn decode(&self, slots: &Slots) -> Found {
        let mut rules: BTreeMap<(u32, u32), Vec<Place>> = BTreeMap::new();
        let exact = self
            .rules
            .iter()
            .map(|(key, value)| (Place::of(key), value));
        let prefixes = self
            .prefix_rules
            .iter()
            .filter_map(|(key, value)| Some((Place::of_prefix(key)?, value)));
        for (place, value) in exact.chain(prefixes) {
            rules
                .entry((place.vrf, value.rule))
                .or_default()
                .push(place);
        }
        let mut sources: HashMap<u32, BTreeSet<Prefix>> = HashMap::new();
        for (bits, source) in &self.sources {
            let slot = u32::from_be_bytes(source.rule);
            sources
                .entry(slot)
                .or_default()
                .extend(source_net(*bits, source));
        }
        let vrfs = self
            .vrfs
            .iter()
            .map(|(&ifindex, policy)| {
                let rules = rules
                    .range((ifindex, 0)..=(ifindex, u32::MAX))
                    .map(|(&(_, slot), places)| Rule {
                        name: slots.rule_name(slot),
                        opens: openings(places),
                        sources: sources.remove(&slot).into_iter().flatten().collect(),
                    })
                    .collect();
                let vrf = Vrf {
                    name: slots.vrf_name(policy.counter),
                    posture: posture(policy.flags),
                    rules,
                };
                (ifindex, vrf)
            })
            .collect();
        Found {
            vrfs,
            slaves: self.slaves.clone(),
        }
    }
}

/// The slaves of VRFs that are gated: one of any other device counts as nothing.
pub(crate) fn gated_slaves(set: &RuleSet) -> BTreeMap<u32, u32> {
    let gated = set.slaves().iter();
    let gated = gated.filter(|(_, vrf)| set.vrfs().contains_key(vrf));
    gated.map(|(&slave, &vrf)| (slave, vrf)).collect()
}

/// What an entry of `rules` or `prefix_rules` opens.
struct Place {
    vrf: u32,
    protocol: u8,
    block: PortBlock,
    on: On,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum On {
    Address(IpAddr),
    Prefix(Prefix),
}

impl Place {
    fn of(key: &RuleKey) -> Self {
        Self {
            vrf: key.vrf,
            protocol: key.protocol,
            block: PortBlock {
                first: key.port,
                size: key.block,
            },
            on: On::Address(unmapped(key.address)),
        }
    }

    fn of_prefix((bits, key): &RulePrefix) -> Option<Self> {
        let bits = bits.checked_sub(PrefixRule::HEAD_BITS)?;
        Some(Self {
            vrf: u32::from_be_bytes(key.vrf),
            protocol: key.protocol,
            block: PortBlock {
                first: u16::from_be_bytes(key.port),
                size: key.block,
            },
            on: On::Prefix(net_of(bits, key.family[3], key.address)?),
        })
    }
}

/// What a rule's entries open: blocks of one address that lie side by side are one range, and addresses that have
/// the same range are one opening.
fn openings(places: &[Place]) -> Vec<Opening> {
    let mut blocks: BTreeMap<(u8, On), Vec<PortBlock>> = BTreeMap::new();
    for place in places {
        blocks
            .entry((place.protocol, place.on))
            .or_default()
            .push(place.block);
    }
    let mut opened: BTreeMap<(Protocol, PortRange), Vec<On>> = BTreeMap::new();
    for ((protocol, on), blocks) in blocks {
        let Some(protocol) = Protocol::from_number(protocol) else {
            continue;
        };
        for range in ranges(blocks) {
            opened.entry((protocol, range)).or_default().push(on);
        }
    }
    let opening = |((protocol, ports), places): (_, Vec<On>)| {
        let (mut addresses, mut prefixes) = (Vec::new(), Vec::new());
        for place in places {
            match place {
                On::Address(address) => addresses.push(address),
                On::Prefix(prefix) => prefixes.push(prefix),
            }
        }
        Opening {
            protocol,
            ports,
            addresses,
            prefixes,
        }
    };
    opened.into_iter().map(opening).collect()
}

/// Blocks as ranges, the lowest first. The block of all ports begins with 0, which is no port.
fn ranges(mut blocks: Vec<PortBlock>) -> Vec<PortRange> {
    blocks.sort_unstable_by_key(|block| block.first);
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for block in blocks {
        // Somebody else has written it: no such block is ever looked up.
        if block.size > LARGEST_BLOCK {
            continue;
        }
        let end = u32::from(block.first) + (1 << block.size) - 1;
        let end = u16::try_from(end).unwrap_or(u16::MAX);
        match ranges.last_mut() {
            Some((_, last)) if u32::from(block.first) <= u32::from(*last) + 1 => {
                *last = end.max(*last);
            }
            _ => ranges.push((block.first.max(1), end)),
        }
    }
    let ranges = ranges.into_iter();
    ranges
        .filter_map(|(first, last)| PortRange::try_from(first..=last).ok())
        .collect()
}

fn key(vrf: u32, opening: &Opening, block: PortBlock, address: IpAddr) -> RuleKey {
    RuleKey {
        vrf,
        port: block.first,
        protocol: opening.protocol.number(),
        block: block.size,
        address: mapped(address),
    }
}

fn prefix_key(vrf: u32, opening: &Opening, block: PortBlock, net: Prefix) -> RulePrefix {
    let (family, bits) = bits_of(net);
    let data = PrefixRule::of(&key(vrf, opening, block, net.network()), family);
    (PrefixRule::HEAD_BITS + bits, data)
}

fn flags(posture: Posture, former: L3mdevAccept) -> u32 {
    let open = |switch, flag| if switch == Some(true) { flag } else { 0 };
    match posture {
        Posture::Enforced => 0,
        Posture::Audited => VRF_AUDIT,
        Posture::AsBefore => {
            VRF_AS_BEFORE | open(former.tcp, VRF_OPEN_TCP) | open(former.udp, VRF_OPEN_UDP)
        }
    }
}

fn posture(flags: u32) -> Posture {
    if flags & VRF_AS_BEFORE != 0 {
        Posture::AsBefore
    } else if flags & VRF_AUDIT != 0 {
        Posture::Audited
    } else {
        Posture::Enforced
    }
}

/// The block sizes in use in a VRF for `protocol`.
pub(crate) fn blocks_of(policy: &mut VrfPolicy, protocol: Protocol) -> &mut u32 {
    match protocol {
        Protocol::Tcp => &mut policy.tcp_blocks,
        Protocol::Udp => &mut policy.udp_blocks,
    }
}

pub(crate) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => vrfgate_abi::map_ipv4(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The address a map key or an event holds.
pub(crate) fn unmapped(address: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}

fn source_prefix(slot: u32, net: Prefix) -> SourcePrefix {
    let (family, bits) = bits_of(net);
    let source = Source::new(slot, family, mapped(net.network()));
    (Source::HEAD_BITS + bits, source)
}

fn source_net(bits: u32, source: &Source) -> Option<Prefix> {
    let bits = bits.checked_sub(Source::HEAD_BITS)?;
    net_of(bits, source.family, source.address)
}

/// Family of a prefix, and its length as that of a 16-byte address.
fn bits_of(net: Prefix) -> (u8, u32) {
    let length = u32::from(net.length());
    match net.network() {
        IpAddr::V4(_) => (IPV4, 96 + length),
        IpAddr::V6(_) => (IPV6, length),
    }
}

/// The prefix that these stand for in a key.
fn net_of(bits: u32, family: u8, address: [u8; 16]) -> Option<Prefix> {
    let (address, length) = if family == IPV4 {
        (unmapped(address), bits.checked_sub(96)?)
    } else {
        (IpAddr::V6(address.into()), bits)
    };
    let net = IpNet::new(address, u8::try_from(length).ok()?).ok()?;
    Prefix::new(net).ok()
}
