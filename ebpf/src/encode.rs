//! From rules to map entries and back. Pure: touches no map.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use vrfgate_abi::{
    IPV4, IPV6, PortBlocks, PrefixRule, RULE_RESTRICTED, RuleKey, RuleValue, Source, VRF_AS_BEFORE,
    VRF_AUDIT, VRF_OPEN_TCP, VRF_OPEN_UDP, VRF_PREFIXES, VrfPolicy,
};

use crate::{
    L3mdevAccept, Mode, Protocol, Rule, RuleError, RuleSet, Vrf,
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
    pub(crate) rules: HashMap<RuleKey, RuleValue>,
    pub(crate) prefix_rules: HashMap<RulePrefix, RuleValue>,
    pub(crate) sources: HashSet<SourcePrefix>,
}

impl Tables {
    /// Entries that put `set` into force in a namespace that had `former` before the gate, with counter
    /// slots taken from `slots`.
    pub(crate) fn encode(
        set: &RuleSet,
        former: L3mdevAccept,
        slots: &mut Allocation<'_>,
    ) -> Result<Self, RuleError> {
        let mut tables = Self::default();
        for (&ifindex, vrf) in &set.vrfs {
            refuse_overlaps(vrf)?;
            let mut policy = VrfPolicy {
                flags: flags(vrf.mode, former),
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
        let block = PortBlocks::new(*rule.ports.start(), *rule.ports.end()).next()?;
        let key = |address| RuleKey {
            vrf,
            port: block.first,
            protocol: rule.protocol.number(),
            block: block.size,
            address: mapped(address),
        };
        let value = if let Some(&address) = rule.addresses.first() {
            self.rules.get(&key(address))
        } else {
            let net = rule.prefixes.first()?.trunc();
            let (family, bits) = bits_of(net);
            let data = PrefixRule::of(&key(net.network()), family);
            self.prefix_rules.get(&(PrefixRule::HEAD_BITS + bits, data))
        };
        value.map(|value| value.rule)
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
        if !rule.prefixes.is_empty() {
            policy.flags |= VRF_PREFIXES;
        }
        for block in PortBlocks::new(*rule.ports.start(), *rule.ports.end()) {
            *blocks_of(policy, rule.protocol) |= 1 << block.size;
            let key = |address| RuleKey {
                vrf,
                port: block.first,
                protocol: rule.protocol.number(),
                block: block.size,
                address: mapped(address),
            };
            for &address in &rule.addresses {
                self.rules.insert(key(address), value);
            }
            for net in rule.prefixes.iter().map(IpNet::trunc) {
                let (family, bits) = bits_of(net);
                let data = PrefixRule::of(&key(net.network()), family);
                self.prefix_rules
                    .insert((PrefixRule::HEAD_BITS + bits, data), value);
            }
        }
        self.sources
            .extend(rule.sources.iter().map(|&net| source_prefix(slot, net)));
    }

    /// The rules these entries hold, as far as entries tell: names come from `slots`, and slaves are the
    /// tracker's business.
    pub(crate) fn decode(&self, slots: &Slots) -> RuleSet {
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
        let mut sources: HashMap<u32, BTreeSet<IpNet>> = HashMap::new();
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
                    .filter_map(|(&(_, slot), keys)| {
                        decode_rule(slots.rule_name(slot), keys, sources.remove(&slot))
                    })
                    .collect();
                let vrf = Vrf {
                    name: slots.vrf_name(policy.counter),
                    mode: mode(policy.flags),
                    rules,
                };
                (ifindex, vrf)
            })
            .collect();
        RuleSet {
            vrfs,
            slaves: BTreeMap::new(),
        }
    }
}

/// What an entry of `rules` or `prefix_rules` opens.
struct Place {
    vrf: u32,
    protocol: u8,
    first: u16,
    block: u8,
    on: On,
}

enum On {
    Address(IpAddr),
    Prefix(IpNet),
}

impl Place {
    fn of(key: &RuleKey) -> Self {
        Self {
            vrf: key.vrf,
            protocol: key.protocol,
            first: key.port,
            block: key.block,
            on: On::Address(unmapped(key.address)),
        }
    }

    fn of_prefix((bits, key): &RulePrefix) -> Option<Self> {
        let bits = bits.checked_sub(PrefixRule::HEAD_BITS)?;
        Some(Self {
            vrf: u32::from_be_bytes(key.vrf),
            protocol: key.protocol,
            first: u16::from_be_bytes(key.port),
            block: key.block,
            on: On::Prefix(net_of(bits, key.family[3], key.address)?),
        })
    }
}

fn decode_rule(name: String, places: &[Place], sources: Option<BTreeSet<IpNet>>) -> Option<Rule> {
    let protocol = Protocol::from_number(places.first()?.protocol)?;
    let first = places.iter().map(|place| place.first).min()?;
    let last = places
        .iter()
        .map(|place| u32::from(place.first) + (1 << place.block) - 1)
        .max()?;
    let (mut addresses, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
    for place in places {
        match place.on {
            On::Address(address) => drop(addresses.insert(address)),
            On::Prefix(prefix) => drop(prefixes.insert(prefix)),
        }
    }
    Some(Rule {
        name,
        protocol,
        ports: first.max(1)..=u16::try_from(last).unwrap_or(u16::MAX),
        addresses: addresses.into_iter().collect(),
        prefixes: prefixes.into_iter().collect(),
        sources: sources.into_iter().flatten().collect(),
    })
}

fn flags(mode: Mode, former: L3mdevAccept) -> u32 {
    let open = |switch, flag| if switch == Some(true) { flag } else { 0 };
    match mode {
        Mode::Enforce => 0,
        Mode::Audit => VRF_AUDIT,
        Mode::AsBefore => {
            VRF_AS_BEFORE | open(former.tcp, VRF_OPEN_TCP) | open(former.udp, VRF_OPEN_UDP)
        }
    }
}

fn mode(flags: u32) -> Mode {
    if flags & VRF_AS_BEFORE != 0 {
        Mode::AsBefore
    } else if flags & VRF_AUDIT != 0 {
        Mode::Audit
    } else {
        Mode::Enforce
    }
}

/// The block sizes in use in a VRF for `protocol`.
pub(crate) fn blocks_of(policy: &mut VrfPolicy, protocol: Protocol) -> &mut u32 {
    match protocol {
        Protocol::Tcp => &mut policy.tcp_blocks,
        Protocol::Udp => &mut policy.udp_blocks,
    }
}

fn refuse_overlaps(vrf: &Vrf) -> Result<(), RuleError> {
    let mut by_address: HashMap<(Protocol, IpAddr), Vec<&Rule>> = HashMap::new();
    for rule in &vrf.rules {
        for &address in &rule.addresses {
            by_address
                .entry((rule.protocol, address))
                .or_default()
                .push(rule);
        }
    }
    for ((protocol, address), mut rules) in by_address {
        rules.sort_by_key(|rule| (*rule.ports.start(), &rule.name));
        for pair in rules.windows(2) {
            let [first, second] = pair else { continue };
            if second.ports.start() <= first.ports.end() {
                return Err(RuleError::Overlap {
                    vrf: vrf.name.clone(),
                    first: first.name.clone(),
                    second: second.name.clone(),
                    address,
                    port: *second.ports.start(),
                    protocol,
                });
            }
        }
    }
    refuse_overlapping_prefixes(vrf)
}

fn refuse_overlapping_prefixes(vrf: &Vrf) -> Result<(), RuleError> {
    // Only pairs in which one has prefixes: among 100,000 rules without, there would be billions.
    let with_prefixes = vrf.rules.iter().enumerate();
    let with_prefixes = with_prefixes.filter(|(_, rule)| !rule.prefixes.is_empty());
    for (place, rule) in with_prefixes {
        let (before, after) = (&vrf.rules[..place], &vrf.rules[place + 1..]);
        for other in before {
            refuse_shared_prefix(vrf, other, rule)?;
        }
        for other in after {
            refuse_shared_prefix(vrf, rule, other)?;
        }
    }
    Ok(())
}

fn refuse_shared_prefix(vrf: &Vrf, first: &Rule, second: &Rule) -> Result<(), RuleError> {
    let port = *first.ports.start().max(second.ports.start());
    if first.protocol != second.protocol || port > *first.ports.end().min(second.ports.end()) {
        return Ok(());
    }
    match shared(first, second).or_else(|| shared(second, first)) {
        None => Ok(()),
        Some(address) => Err(RuleError::Overlap {
            vrf: vrf.name.clone(),
            first: first.name.clone(),
            second: second.name.clone(),
            address,
            port,
            protocol: first.protocol,
        }),
    }
}

/// An address or prefix of `one` that lies in a prefix of the other.
fn shared(one: &Rule, other: &Rule) -> Option<IpAddr> {
    let addresses = one.addresses.iter().copied().map(IpNet::from);
    addresses
        .chain(one.prefixes.iter().copied())
        .find(|net| other.prefixes.iter().any(|prefix| prefix.contains(net)))
        .map(|net| net.network())
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

fn source_prefix(slot: u32, net: IpNet) -> SourcePrefix {
    let net = net.trunc();
    let (family, bits) = bits_of(net);
    let source = Source::new(slot, family, mapped(net.network()));
    (Source::HEAD_BITS + bits, source)
}

fn source_net(bits: u32, source: &Source) -> Option<IpNet> {
    let bits = bits.checked_sub(Source::HEAD_BITS)?;
    net_of(bits, source.family, source.address)
}

/// Family of a prefix, and its length as that of a 16-byte address.
fn bits_of(net: IpNet) -> (u8, u32) {
    let length = u32::from(net.prefix_len());
    match net {
        IpNet::V4(_) => (IPV4, 96 + length),
        IpNet::V6(_) => (IPV6, length),
    }
}

/// The prefix that these stand for in a key.
fn net_of(bits: u32, family: u8, address: [u8; 16]) -> Option<IpNet> {
    let (address, length) = if family == IPV4 {
        (unmapped(address), bits.checked_sub(96)?)
    } else {
        (IpAddr::V6(address.into()), bits)
    };
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}
