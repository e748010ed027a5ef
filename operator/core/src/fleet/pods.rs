//! The part of one node's pods.

use std::{collections::BTreeMap, sync::Arc};

use super::{Conflict, FleetLeak, PlacedLeak, placed::conflicts};
use crate::{Leak, LeakName};

/// A pod that has been given to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FleetPod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a pod of the same name may come after it.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its Kubernetes namespace.
    pub namespace_labels: BTreeMap<String, String>,
}

/// A pod, and the leaks that apply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Free of conflicts, in the order of the leaks given.
    pub leaks: Vec<LeakName>,
}

/// What the pods of one node have to put into force.
#[derive(Debug, Default)]
pub(super) struct PodPlan {
    /// The pods that leaks apply to, in the order given.
    pub pods: Vec<PlannedPod>,
    /// The leaks of those pods, each once, in the order given.
    pub leaks: Vec<PlacedLeak>,
    /// Leaks that can't be in force in a pod beside an earlier one.
    pub conflicts: Vec<Conflict>,
}

/// Each pod has a network namespace of its own: leaks conflict only where they meet in one.
pub(super) fn plan_pods(pods: &[FleetPod], leaks: &[&FleetLeak]) -> PodPlan {
    let mut plan = PodPlan::default();
    let mut in_use = vec![false; leaks.len()];
    for pod in pods {
        let mut placed: Vec<&Leak> = Vec::new();
        for (candidate, in_use) in leaks.iter().zip(&mut in_use) {
            let selected = candidate
                .pods
                .as_ref()
                .is_some_and(|selector| selector.selects(&pod.namespace_labels, &pod.labels));
            if !selected {
                continue;
            }
            let conflicts = conflicts(placed.iter().copied(), &candidate.leak);
            if conflicts.is_empty() {
                placed.push(&candidate.leak);
                *in_use = true;
            }
            for conflict in conflicts {
                if !plan.conflicts.contains(&conflict) {
                    plan.conflicts.push(conflict);
                }
            }
        }
        if !placed.is_empty() {
            plan.pods.push(PlannedPod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                leaks: placed.iter().map(|leak| leak.name.clone()).collect(),
            });
        }
    }
    let used = leaks.iter().zip(in_use).filter(|(_, in_use)| *in_use);
    plan.leaks = used
        .map(|(candidate, _)| PlacedLeak {
            leak: Arc::clone(&candidate.leak),
            generation: candidate.generation,
        })
        .collect();
    plan
}
