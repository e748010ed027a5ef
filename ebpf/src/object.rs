//! The BPF object of the gate, compiled in.

use vrfgate_core::RuleSet;

use crate::Needs;

/// Chosen by build.rs: the committed one, made by `make object`, so that building needs no BPF toolchain.
pub(crate) const OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/vrfgate.bpf.o"));

/// Names of the two programs in the object.
pub(crate) const GATE: &str = "vrfgate";
pub(crate) const GUARD: &str = "vrfgate_guard";

/// How much the maps of one gate can hold. Memory is taken as entries come, except for counters
/// (24 bytes a slot and possible CPU) and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Entries of `slaves`: one for each slave of a VRF.
    pub slaves: u32,
    /// Entries of `rules`: one for each local address and block of ports.
    pub rules: u32,
    /// Entries of `sources`: one for each source prefix of each restricted rule.
    pub sources: u32,
    /// Slots of `counters`: one a rule and one a VRF.
    pub counters: u32,
    /// Bytes of the ring buffer of refusals; a power of two, and a multiple of the page size.
    pub events: u32,
}

/// Entries that `prefix_rules` has room for, as the BPF object says.
const PREFIX_RULES: usize = 16_384;

impl Capacity {
    /// What a gate of this capacity has room for.
    #[must_use]
    pub fn room(&self) -> Needs {
        Needs {
            counters: self.counters as usize,
            rules: self.rules as usize,
            prefix_rules: PREFIX_RULES,
            sources: self.sources as usize,
        }
    }

    /// For the gate of a pod, which has few addresses: a hash table's buckets are made, and paid for, at once. There
    /// is room for twice what it begins with, and for some thousands in any case.
    #[must_use]
    pub fn of_pod(rules: &RuleSet) -> Self {
        let most = Self::default();
        let room = |needed: usize, most: u32| {
            let twice = u32::try_from(needed.saturating_mul(2)).unwrap_or(most);
            twice.clamp(LEAST.min(most), most)
        };
        let needs = Needs::of(rules);
        Self {
            // A pod has no more interfaces than its host has VRFs.
            slaves: 4096,
            rules: room(needs.rules, most.rules),
            sources: room(needs.sources, most.sources),
            events: 16_384,
            ..most
        }
    }
}

/// Entries that a pod has room for, however few it begins with.
const LEAST: u32 = 8192;

impl Default for Capacity {
    fn default() -> Self {
        Self {
            slaves: 65_536,
            rules: 131_072,
            sources: 65_536,
            counters: 1024,
            events: 65_536,
        }
    }
}

/// Which object this is: two builds of vrfgate with the same number have the same program.
pub(crate) const BUILD: u64 = fingerprint(OBJECT);

/// 64-bit FNV-1a.
pub(crate) const fn fingerprint(object: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < object.len() {
        // A lossless `into` is no constant function.
        hash = (hash ^ object[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vrfgate_core::{Opening, Posture, Protocol, Rule, Vrf};

    use super::*;

    fn rule(number: u16, addresses: usize) -> Rule {
        let opening = Opening {
            protocol: Protocol::Tcp,
            ports: (number..=number).try_into().unwrap(),
            addresses: vec![[10, 0, 0, 1].into(); addresses],
            prefixes: Vec::new(),
        };
        Rule::new(number.to_string(), opening)
    }

    fn capacity(rules: Vec<Rule>) -> Capacity {
        let vrf = Vrf {
            name: "BLUE".to_owned(),
            posture: Posture::Enforced,
            rules,
        };
        let rules = RuleSet::new(BTreeMap::from([(1, vrf)]), BTreeMap::new());
        Capacity::of_pod(&rules.unwrap())
    }

    #[test]
    fn a_pod_has_room_for_twice_its_rules_and_for_no_more_than_a_host() {
        assert_eq!(capacity(vec![rule(80, 1)]).rules, LEAST);
        assert_eq!(
            capacity((1..=1000).map(|port| rule(port, 10)).collect()).rules,
            20_000
        );
        let most = Capacity::default();
        assert_eq!(capacity(vec![rule(80, 100_000)]).rules, most.rules);
        assert_eq!(
            capacity(Vec::new()).counters,
            most.counters,
            "one a service, and there may be hundreds"
        );
    }
}
