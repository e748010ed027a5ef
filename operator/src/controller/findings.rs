//! The plans and gates of a cluster, by leak. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;
use vrfgate_core::{FleetLeak, NodePlan, PlacedLeak, ServiceKey};

use super::{gates::holds, view::View};
use crate::api::VrfGateNode;

/// What is known about a leak.
#[derive(Debug, Default)]
pub struct Findings<'a> {
    /// The nodes that it applies to.
    pub nodes: BTreeMap<&'a str, Placement<'a>>,
    /// Sentences about other leaks that can't be in force beside this one.
    pub conflicts: BTreeSet<String>,
    /// A sentence for each Service or port that it refers to and that doesn't exist.
    pub dangling: Vec<String>,
    /// Nodes that have not released it yet, if it is being deleted.
    pub held_by: Vec<&'a str>,
}

/// A leak on one node.
#[derive(Clone, Copy, Debug)]
pub enum Placement<'a> {
    /// The node was asked to put it into force; with its object, if that exists.
    Asked(Option<&'a VrfGateNode>),
    /// It conflicts with another leak, which is in force there.
    InConflict,
}

/// Findings by name of the leak, from one walk over the nodes, of which there may be thousands.
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
            findings.dangling = dangling(parsed, &view.services);
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
            // In force in one pod, a leak may still conflict in another. What a leak asks for twice is in force once.
            if conflict.earlier != conflict.later
                && let Some(findings) = all.get_mut(conflict.later.as_str())
            {
                findings.nodes.insert(node, Placement::InConflict);
            }
        }
        // Only needed for these.
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

/// A sentence for each Service or port that a leak refers to and that doesn't exist.
fn dangling(leak: &FleetLeak, services: &BTreeMap<ServiceKey, BTreeSet<String>>) -> Vec<String> {
    let mut missing = Vec::new();
    for reference in &leak.references {
        let Some(ports) = services.get(&reference.service) else {
            missing.push(format!(
                "service {}: there is no Service {}",
                reference.name, reference.service
            ));
            continue;
        };
        for port in reference.ports.iter().filter(|port| !ports.contains(*port)) {
            missing.push(format!(
                "service {}: the Service {} has no port {port}",
                reference.name, reference.service
            ));
        }
    }
    missing
}
