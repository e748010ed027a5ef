//! The part of one node's pods.

use std::{collections::BTreeMap, sync::Arc};

use super::{FleetLeak, NodePlan, PlacedLeak, Selector, plan::conflicts};
use crate::{Leak, LeakName};

/// Which pods a leak applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSelector {
    /// By the labels of their Kubernetes namespaces.
    pub namespaces: Selector,
    /// By their own.
    pub pods: Selector,
}

impl PodSelector {
    fn selects(&self, pod: &FleetPod) -> bool {
        self.namespaces.matches(&pod.namespace_labels) && self.pods.matches(&pod.labels)
    }
}

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

/// Each pod has a network namespace of its own: leaks conflict only where they meet in one.
pub(super) fn plan_pods(plan: &mut NodePlan, pods: &[FleetPod], leaks: &[&FleetLeak]) {
    let mut in_use = vec![false; leaks.len()];
    for pod in pods {
        let mut placed: Vec<&Leak> = Vec::new();
        for (candidate, in_use) in leaks.iter().zip(&mut in_use) {
            let selected = candidate
                .pods
                .as_ref()
                .is_some_and(|selector| selector.selects(pod));
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
    plan.pod_leaks = used
        .map(|(candidate, _)| PlacedLeak {
            leak: Arc::clone(&candidate.leak),
            generation: candidate.generation,
        })
        .collect();
}
