//! From rules to map entries and back. Pure: touches no map.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use vrfgate_abi::{
    IPV4, IPV6, PortBlocks, RULE_RESTRICTED, RuleKey, RuleValue, Source, VRF_AS_BEFORE, VRF_AUDIT,
    VRF_OPEN_TCP, VRF_OPEN_UDP, VrfPolicy,
};

use crate::{
    L3mdevAccept, Mode, Protocol, Rule, RuleError, RuleSet, Vrf,
    slots::{Allocation, Slots},
};

/// A prefix of the `sources` map: its length in bits of the key, and its data.
pub(crate) type SourcePrefix = (u32, Source);

/// Contents of the gate's maps, whether wanted or found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) vrfs: BTreeMap<u32, VrfPolicy>,
    pub(crate) rules: HashMap<RuleKey, RuleValue>,
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
    }

    fn add_rule(&mut self, vrf: u32, rule: &Rule, slot: u32, policy: &mut VrfPolicy) {
        let value = RuleValue {
            rule: slot,
            flags: if rule.sources.is_empty() {
                0
            } else {
                RULE_RESTRICTED
            },
        };
        for block in PortBlocks::new(*rule.ports.start(), *rule.ports.end()) {
            *blocks_of(policy, rule.protocol) |= 1 << block.size;
            for &address in &rule.addresses {
                let key = RuleKey {
                    vrf,
                    port: block.first,
                    protocol: rule.protocol.number(),
                    block: block.size,
                    address: mapped(address),
                };
                self.rules.insert(key, value);
            }
        }
        self.sources
            .extend(rule.sources.iter().map(|&net| source_prefix(slot, net)));
    }

    /// The rules these entries hold, as far as entries tell: names come from `slots`.
    pub(crate) fn decode(&self, slots: &Slots) -> RuleSet {
        let mut rules: BTreeMap<(u32, u32), Vec<&RuleKey>> = BTreeMap::new();
        for (key, value) in &self.rules {
            rules.entry((key.vrf, value.rule)).or_default().push(key);
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
        RuleSet { vrfs }
    }
}

fn decode_rule(name: String, keys: &[&RuleKey], sources: Option<BTreeSet<IpNet>>) -> Option<Rule> {
    let protocol = Protocol::from_number(keys.first()?.protocol)?;
    let first = keys.iter().map(|key| key.port).min()?;
    let last = keys
        .iter()
        .map(|key| u32::from(key.port) + (1 << key.block) - 1)
        .max()?;
    let addresses: BTreeSet<IpAddr> = keys.iter().map(|key| unmapped(key.address)).collect();
    Some(Rule {
        name,
        protocol,
        ports: first.max(1)..=u16::try_from(last).unwrap_or(u16::MAX),
        addresses: addresses.into_iter().collect(),
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
    Ok(())
}

fn mapped(address: IpAddr) -> [u8; 16] {
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
    let (family, skipped) = match net {
        IpNet::V4(_) => (IPV4, 96),
        IpNet::V6(_) => (IPV6, 0),
    };
    let bits = Source::HEAD_BITS + skipped + u32::from(net.prefix_len());
    (bits, Source::new(slot, family, mapped(net.network())))
}

fn source_net(bits: u32, source: &Source) -> Option<IpNet> {
    let skipped = if source.family == IPV4 { 96 } else { 0 };
    let length = bits.checked_sub(Source::HEAD_BITS + skipped)?;
    let address = if source.family == IPV4 {
        unmapped(source.address)
    } else {
        IpAddr::V6(source.address.into())
    };
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}
