//! What each leak has met on the nodes of a cluster. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;

use super::{gates::holds, status, view::View};
use crate::api::VrfGateNode;
use vrfgate_core::{NodePlan, PlacedLeak};

/// What a leak has met.
#[derive(Debug, Default)]
pub struct Findings<'a> {
    /// The nodes it applies to, each with what its gate is known to be.
    pub nodes: BTreeMap<&'a str, Placement<'a>>,
    /// Sentences about other leaks that can't be in force beside this one.
    pub conflicts: BTreeSet<String>,
    /// What it refers to that isn't there.
    pub dangling: Vec<String>,
    /// Nodes that have not let go of it, where it is about to be deleted.
    pub held_by: Vec<&'a str>,
}

/// A leak on one node.
#[derive(Clone, Copy, Debug)]
pub enum Placement<'a> {
    /// The node was asked to put it into force.
    Asked(Option<&'a VrfGateNode>),
    /// Another leak is in force there that it conflicts with.
    InConflict,
}

/// Of every leak, by its name, in one walk over the nodes: there may be thousands.
pub fn findings<'a>(
    view: &'a View,
    plans: &BTreeMap<&'a str, Arc<NodePlan>>,
    gates: &'a BTreeMap<String, Arc<VrfGateNode>>,
) -> BTreeMap<String, Findings<'a>> {
    let mut all: BTreeMap<String, Findings<'a>> = BTreeMap::new();
    let mut deleted = Vec::new();
    for leak in &view.leaks {
        let name = leak.object.name_any();
        let findings = all.entry(name.clone()).or_default();
        if let Ok(parsed) = &leak.parsed {
            findings.dangling = status::dangling(parsed, &view.services);
        }
        if leak.object.metadata.deletion_timestamp.is_some() {
            deleted.push(name);
        }
    }
    for (node, plan) in plans {
        let gate = gates.get(*node).map(|gate| &**gate);
        for PlacedLeak { leak, .. } in plan.leaks.iter().chain(&plan.pod_leaks) {
            if let Some(findings) = all.get_mut(leak.name.as_str()) {
                findings.nodes.insert(node, Placement::Asked(gate));
            }
        }
        for conflict in &plan.conflicts {
            let sentence = conflict.error.to_string();
            for name in [&conflict.earlier, &conflict.later] {
                if let Some(findings) = all.get_mut(name.as_str()) {
                    findings.conflicts.insert(sentence.clone());
                }
            }
            // A leak for pods may be in one pod's way and not in another's; and what a leak asks for twice is in force
            // once.
            if conflict.earlier != conflict.later
                && let Some(findings) = all.get_mut(conflict.later.as_str())
            {
                findings.nodes.insert(node, Placement::InConflict);
            }
        }
        // Of others, nobody asks.
        for name in &deleted {
            if let Some(findings) = all.get_mut(name)
                && gate.is_some_and(|gate| holds(gate, name))
            {
                findings.held_by.push(node);
            }
        }
    }
    all
}
