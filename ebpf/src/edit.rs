//! A few rules that changed among many: found by comparing, so that putting them into force takes as long as the
//! change is large, and not as long as the rule set is. Pure: touches no map.

use std::collections::BTreeMap;

use vrfgate_abi::{VRF_PREFIXES, VrfPolicy};
use vrfgate_core::{Rule, RuleSet, Vrf};

use crate::{
    encode::{Tables, blocks_of, gated_slaves},
    room::blocks,
};

/// More rules than these are not worth looking at one by one.
const MOST: usize = 64;

/// Rules and slaves that differ between two rule sets that are otherwise the same.
pub(crate) struct Edit<'a> {
    changed: Vec<Changed<'a>>,
    slaves: Slaves,
}

/// Slaves that differ: as they were, and as they are. Both by ifindex, with that of their VRF.
#[derive(Default)]
struct Slaves {
    were: BTreeMap<u32, u32>,
    are: BTreeMap<u32, u32>,
}

impl Slaves {
    fn between(former: &RuleSet, rules: &RuleSet) -> Self {
        let (mut were, mut are) = (gated_slaves(former), gated_slaves(rules));
        let stay: Vec<u32> = were
            .iter()
            .filter(|(slave, vrf)| are.get(slave) == Some(vrf))
            .map(|(slave, _)| *slave)
            .collect();
        for slave in stay {
            were.remove(&slave);
            are.remove(&slave);
        }
        Self { were, are }
    }
}

struct Changed<'a> {
    vrf: u32,
    was: &'a Rule,
    is: &'a Rule,
}

/// The entries that an [`Edit`] is about, before and after.
pub(crate) struct Parts {
    pub(crate) current: Tables,
    pub(crate) target: Tables,
}

impl<'a> Edit<'a> {
    /// `None` when more differs than slaves and the content of a few rules: then everything has to be looked at.
    pub(crate) fn between(former: &'a RuleSet, rules: &'a RuleSet) -> Option<Self> {
        if former.vrfs().len() != rules.vrfs().len() {
            return None;
        }
        let mut changed = Vec::new();
        for ((was_number, was), (&number, is)) in former.vrfs().iter().zip(rules.vrfs()) {
            let Vrf {
                name,
                posture,
                rules,
            } = is;
            if (*was_number, &was.name, was.posture) != (number, name, *posture)
                || was.rules.len() != rules.len()
            {
                return None;
            }
            for (was, is) in was.rules.iter().zip(rules) {
                if was == is {
                    continue;
                }
                // Names have slots of the counters: a new one has to be given some.
                if was.name != is.name || changed.len() == MOST {
                    return None;
                }
                changed.push(Changed {
                    vrf: number,
                    was,
                    is,
                });
            }
        }
        Some(Self {
            changed,
            slaves: Slaves::between(former, rules),
        })
    }

    /// What the edit comes to in a gate that holds `tables`. `None` when a rule's counter slot is not among them.
    pub(crate) fn encode(&self, tables: &Tables, rules: &RuleSet) -> Option<Parts> {
        let Slaves { were, are } = &self.slaves;
        let with = |slaves: &BTreeMap<u32, u32>| Tables {
            slaves: slaves.clone(),
            ..Tables::default()
        };
        let mut parts = Parts {
            current: with(were),
            target: with(are),
        };
        for &Changed { vrf, was, is } in &self.changed {
            let slot = tables.slot_of(vrf, was)?;
            let former = *tables.vrfs.get(&vrf)?;
            // The policy is computed below, from all rules.
            let mut ignored = former;
            parts.current.add_rule(vrf, was, slot, &mut ignored);
            parts.target.add_rule(vrf, is, slot, &mut ignored);
            parts.current.vrfs.insert(vrf, former);
            parts
                .target
                .vrfs
                .insert(vrf, policy(former, &rules.vrfs().get(&vrf)?.rules));
        }
        Some(parts)
    }
}

impl Parts {
    /// Makes `tables` what the maps hold after the edit.
    pub(crate) fn merge_into(self, tables: &mut Tables) {
        let Self { current, target } = self;
        for slave in current.slaves.keys() {
            tables.slaves.remove(slave);
        }
        for key in current.rules.keys() {
            tables.rules.remove(key);
        }
        for key in current.prefix_rules.keys() {
            tables.prefix_rules.remove(key);
        }
        for source in &current.sources {
            tables.sources.remove(source);
        }
        let Tables {
            vrfs,
            slaves,
            rules,
            prefix_rules,
            sources,
        } = target;
        tables.vrfs.extend(vrfs);
        tables.slaves.extend(slaves);
        tables.rules.extend(rules);
        tables.prefix_rules.extend(prefix_rules);
        tables.sources.extend(sources);
    }
}

/// The policy of a VRF that has these rules now.
fn policy(former: VrfPolicy, rules: &[Rule]) -> VrfPolicy {
    let mut policy = VrfPolicy {
        flags: former.flags & !VRF_PREFIXES,
        tcp_blocks: 0,
        udp_blocks: 0,
        ..former
    };
    for rule in rules {
        if rule.has_prefixes() {
            policy.flags |= VRF_PREFIXES;
        }
        for opening in &rule.opens {
            for block in blocks(opening.ports) {
                *blocks_of(&mut policy, opening.protocol) |= 1 << block.size;
            }
        }
    }
    policy
}
