//! The status of a gate: what is in force and what it has done. Read from the kernel, not remembered.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use vrfgate_abi::{Counters, LAYOUT};
use vrfgate_core::{Posture, Rule};

use crate::{
    Error, L3mdevAccept, Netns, NetnsId, Store,
    attached::Attached,
    error::{Doing, map_error},
    record::Record,
    tracker::Tracker,
};

/// A gate that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Inode of the network namespace.
    pub netns: NetnsId,
    /// Kernel-wide number of the BPF program (`bpftool prog show id N`).
    pub program_id: u32,
    /// The same of the program that stands in for it when its link is detached.
    pub guard_program_id: u32,
    /// Version of the map layout.
    pub layout: u32,
    /// `net.ipv4.tcp_l3mdev_accept` and its UDP kin.
    pub sysctls: SysctlStatus,
    /// Whether tracing programs report VRF-bound listeners the moment they listen. Without them, vrfgate looks for
    /// them at intervals.
    pub tracing: bool,
    /// Whether it came before anything needed it, and stays until it is removed by name.
    pub prepared: bool,
    /// VRFs that are gated, in order of ifindex.
    pub vrfs: Vec<VrfStatus>,
}

/// The switches the gate guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SysctlStatus {
    /// Values now.
    pub now: L3mdevAccept,
    /// Values before the gate; what `clear` gives back.
    pub former: L3mdevAccept,
}

/// One gated VRF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VrfStatus {
    /// Ifindex of the VRF device.
    pub ifindex: u32,
    /// Its name when the rules were last changed.
    pub name: String,
    /// Ifindexes of its slaves, in order: what this host sends to itself through one of them came through the VRF.
    pub slaves: Vec<u32>,
    /// What happens to packets that no rule lists.
    #[serde(rename = "mode")]
    pub posture: Posture,
    /// What the VRF as a whole has seen.
    pub hits: Hits,
    /// Rules in order of name.
    pub rules: Vec<RuleStatus>,
}

/// One rule in force. While none of the addresses that it is for is there, it has its name and nothing that it opens, nor to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleStatus {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// What it has seen.
    pub hits: Hits,
}

/// Look-ups since the rule or VRF was first named: new TCP connections and unconnected UDP datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hits {
    /// Let through.
    pub passed: u64,
    /// Refused; for a rule, because of the client's address.
    pub refused: u64,
    /// Let through by an audited VRF, and refused if it enforced.
    pub would_refuse: u64,
}

impl From<Counters> for Hits {
    fn from(counters: Counters) -> Self {
        let Counters {
            passed,
            refused,
            would_refuse,
        } = counters;
        Self {
            passed,
            refused,
            would_refuse,
        }
    }
}

pub(crate) fn of(
    store: &Store,
    netns: &Netns,
    attached: &Attached,
    record: &Record,
) -> Result<GateStatus, Error> {
    let tables = attached
        .maps
        .read()
        .map_err(|cause| map_error("reading", netns, cause))?;
    let hits = |slot: u32| {
        attached
            .maps
            .counters(slot)
            .map(Hits::from)
            .map_err(|cause| map_error("reading", netns, cause))
    };
    let slots = record.slots.by_owner();
    let slot_of = |vrf: &str, rule: Option<&str>| {
        let owner = crate::slots::Owner {
            vrf: vrf.to_owned(),
            rule: rule.map(str::to_owned),
        };
        slots.get(&owner).copied()
    };

    let mut vrfs = Vec::new();
    let in_force = tables.decode(&record.slots);
    for (ifindex, vrf) in in_force.vrfs {
        let mut rules = Vec::new();
        for rule in vrf.rules {
            let hits = match slot_of(&vrf.name, Some(&rule.name)) {
                Some(slot) => hits(slot)?,
                None => Hits::default(),
            };
            rules.push(RuleStatus { rule, hits });
        }
        // One that opens nothing has no entries, and a slot all the same.
        let known: HashSet<&str> = rules.iter().map(|known| known.rule.name.as_str()).collect();
        let others = slots.iter().filter(|(owner, _)| owner.vrf == vrf.name);
        let others: Vec<(String, u32)> = others
            .filter_map(|(owner, slot)| Some((owner.rule.clone()?, *slot)))
            .filter(|(name, _)| !known.contains(name.as_str()))
            .collect();
        for (name, slot) in others {
            let rule = Rule {
                name,
                opens: Vec::new(),
                sources: Vec::new(),
            };
            let hits = hits(slot)?;
            rules.push(RuleStatus { rule, hits });
        }
        rules.sort_by(|a, b| a.rule.name.cmp(&b.rule.name));
        vrfs.push(VrfStatus {
            ifindex,
            hits: match tables.vrfs.get(&ifindex) {
                Some(policy) => hits(policy.counter)?,
                None => Hits::default(),
            },
            name: vrf.name,
            slaves: slaves_of(&in_force.slaves, ifindex),
            posture: vrf.posture,
            rules,
        });
    }
    Ok(GateStatus {
        netns: netns.id(),
        program_id: attached.gate.program_id(),
        guard_program_id: attached.guard.program_id(),
        layout: LAYOUT,
        sysctls: SysctlStatus {
            now: L3mdevAccept::read(netns)
                .doing(|| format!("reading the l3mdev_accept sysctls of {netns}"))?,
            former: record.former,
        },
        tracing: Tracker::is_tracing(store),
        prepared: record.prepared,
        vrfs,
    })
}

fn slaves_of(slaves: &BTreeMap<u32, u32>, vrf: u32) -> Vec<u32> {
    let its = slaves.iter().filter(|(_, master)| **master == vrf);
    its.map(|(slave, _)| *slave).collect()
}
