//! Keeps values that are equal on many nodes once.
//!
//! A thousand nodes with a hundred leaks each hold a hundred thousand of them, and the same hundred again and again.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::api::{GateLeak, LeakOutcome, VrfGateNode};

/// How many objects pass between two collections of unused values.
const ROUND: usize = 1000;

/// The leaks and outcomes of all nodes, each once.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    leaks: HashSet<Arc<GateLeak>>,
    outcomes: HashSet<Arc<LeakOutcome>>,
    /// Objects since the last collection.
    passed: usize,
}

impl Shared {
    /// Replaces values of an object by the equal ones of other objects.
    pub fn share(&self, gate: &mut VrfGateNode) {
        let mut inner = self.inner();
        for leak in gate.spec.leaks.iter_mut().chain(&mut gate.spec.pod_leaks) {
            one(&mut inner.leaks, leak);
        }
        if let Some(status) = &mut gate.status {
            let of_pods = status.pods.iter_mut().flat_map(|pod| &mut pod.leaks);
            for outcome in status.leaks.iter_mut().chain(of_pods) {
                one(&mut inner.outcomes, outcome);
            }
        }
        inner.passed += 1;
        if inner.passed >= ROUND {
            inner.passed = 0;
            inner.leaks.retain(is_had);
            inner.outcomes.retain(is_had);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces a value by the known one that equals it.
fn one<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, value: &mut Arc<T>) {
    match known.get(value) {
        Some(same) => *value = Arc::clone(same),
        None => {
            known.insert(Arc::clone(value));
        }
    }
}

/// By anybody else.
fn is_had<T>(value: &Arc<T>) -> bool {
    Arc::strong_count(value) > 1
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn gate(node: &str, port: u16) -> VrfGateNode {
        let leak = json!({
            "name": "a", "generation": 1, "vrf": "BLUE", "mode": "Enforce", "replies": "Route",
            "services": [{"name": "s", "protocol": "TCP", "port": port, "endPort": port, "addresses": ["0.0.0.0/0"]}],
        });
        let outcome: Value = json!({"name": "a", "generation": 1, "state": "InForce"});
        serde_json::from_value(json!({
            "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfGateNode", "metadata": {"name": node},
            "spec": {"leaks": [leak.clone()], "podLeaks": [leak]},
            "status": {
                "leaks": [outcome.clone()],
                "pods": [{"namespace": "core", "name": "upf", "leaks": [outcome]}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_two_nodes_have_alike_is_kept_once_and_nothing_is_changed() {
        let shared = Shared::default();
        let (mut one, mut other) = (gate("one", 22), gate("other", 22));
        for gate in [&mut one, &mut other] {
            shared.share(gate);
        }
        assert_eq!((&one, &other), (&gate("one", 22), &gate("other", 22)));
        let leaks = one.spec.leaks.iter().chain(&one.spec.pod_leaks);
        let leaks = leaks.chain(&other.spec.leaks).chain(&other.spec.pod_leaks);
        assert!(
            leaks
                .into_iter()
                .all(|leak| Arc::ptr_eq(leak, &one.spec.leaks[0]))
        );
        let of = |gate: &VrfGateNode| {
            let status = gate.status.clone().unwrap();
            [
                Arc::clone(&status.leaks[0]),
                Arc::clone(&status.pods[0].leaks[0]),
            ]
        };
        let outcomes = [of(&one), of(&other)].concat();
        assert!(
            outcomes
                .iter()
                .all(|outcome| Arc::ptr_eq(outcome, &outcomes[0]))
        );
    }

    #[test]
    fn what_no_node_has_any_more_is_not_kept() {
        let shared = Shared::default();
        for port in 1..=u16::try_from(ROUND).unwrap() {
            shared.share(&mut gate("one", port));
        }
        // But for the object that is being looked at.
        assert_eq!(shared.inner().leaks.len(), 1);
    }
}
