//! Keeps the last valid generation of a leak that has become invalid. Pure.
//!
//! A mistake in an edit must close nothing, nor must a rule that a newer version of the controller adds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;
use vrfgate_core::FleetPod;

use super::view::View;
use crate::api::{GateLeak, GatePod, VrfGateNodeSpec};

/// The leaks that have become invalid, and the order of all.
pub struct Kept {
    mistaken: BTreeSet<String>,
    order: BTreeMap<String, usize>,
}

impl Kept {
    pub fn new(view: &View) -> Self {
        let mistaken = view.leaks.iter().filter(|leak| {
            leak.parsed.is_err() && leak.object.metadata.deletion_timestamp.is_none()
        });
        let names = view.leaks.iter().map(|leak| leak.object.name_any());
        Self {
            mistaken: mistaken.map(|leak| leak.object.name_any()).collect(),
            order: names.zip(0..).collect(),
        }
    }

    /// Adds to the desired spec of a node the current parts of these leaks, for pods that still exist.
    pub fn add(&self, spec: &mut VrfGateNodeSpec, current: &VrfGateNodeSpec, pods: &[FleetPod]) {
        if self.mistaken.is_empty() {
            return;
        }
        self.add_leaks(&mut spec.leaks, &current.leaks, |_| true);
        for held in &current.pods {
            let there = pods.iter().any(|pod| pod.uid == held.uid);
            let names = held
                .leaks
                .iter()
                .filter(|name| self.mistaken.contains(*name));
            let names: Vec<&String> = names.filter(|_| there).collect();
            if names.is_empty() {
                continue;
            }
            let place = spec.pods.iter().position(|pod| pod.uid == held.uid);
            let place = place.unwrap_or_else(|| {
                spec.pods.push(GatePod {
                    leaks: Vec::new(),
                    ..held.clone()
                });
                spec.pods.len() - 1
            });
            let leaks = &mut spec.pods[place].leaks;
            leaks.extend(names.into_iter().cloned());
            leaks.sort_by_key(|name| self.order.get(name));
        }
        spec.pods.sort_by(|one, other| {
            (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
        });
        let in_use: BTreeSet<String> = spec
            .pods
            .iter()
            .flat_map(|pod| pod.leaks.iter().cloned())
            .collect();
        self.add_leaks(&mut spec.pod_leaks, &current.pod_leaks, |name| {
            in_use.contains(name)
        });
    }

    fn add_leaks(
        &self,
        leaks: &mut Vec<Arc<GateLeak>>,
        current: &[Arc<GateLeak>],
        in_use: impl Fn(&str) -> bool,
    ) {
        let kept = current
            .iter()
            .filter(|leak| self.mistaken.contains(&leak.name) && in_use(&leak.name));
        leaks.extend(kept.cloned());
        leaks.sort_by_key(|leak| self.order.get(&leak.name));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kept(mistaken: &[&str], order: &[&str]) -> Kept {
        Kept {
            mistaken: mistaken.iter().map(ToString::to_string).collect(),
            order: order.iter().map(ToString::to_string).zip(0..).collect(),
        }
    }

    fn leak(name: &str) -> Value {
        json!({"name": name, "generation": 1, "vrf": "BLUE", "mode": "Enforce", "replies": "Route"})
    }

    fn pod(name: &str, leaks: &[&str]) -> Value {
        json!({"namespace": "core", "name": name, "uid": format!("uid-{name}"), "leaks": leaks})
    }

    fn spec(leaks: &[&str], pods: &[Value], pod_leaks: &[&str]) -> VrfGateNodeSpec {
        let forms = |names: &[&str]| names.iter().map(|name| leak(name)).collect::<Vec<_>>();
        let spec = json!({"leaks": forms(leaks), "pods": pods, "podLeaks": forms(pod_leaks)});
        serde_json::from_value(spec).unwrap()
    }

    fn there(names: &[&str]) -> Vec<FleetPod> {
        let pod = |name: &&str| FleetPod {
            namespace: "core".to_owned(),
            name: (*name).to_owned(),
            uid: format!("uid-{name}"),
            ..FleetPod::default()
        };
        names.iter().map(pod).collect()
    }

    #[test]
    fn a_leak_that_makes_no_sense_any_more_stays_where_it_was_and_no_other_does() {
        let mut wanted = spec(&["old", "new"], &[], &[]);
        let current = spec(&["old", "bad", "gone"], &[], &[]);
        kept(&["bad", "bad-and-nowhere"], &["old", "bad", "new"]).add(&mut wanted, &current, &[]);
        assert_eq!(wanted, spec(&["old", "bad", "new"], &[], &[]));
    }

    #[test]
    fn a_leak_of_pods_that_makes_no_sense_any_more_stays_in_those_that_are_still_there() {
        let mut wanted = spec(&[], &[pod("b", &["new"])], &["new"]);
        let held = [
            pod("a", &["bad"]),
            pod("b", &["bad", "gone"]),
            pod("c", &["bad"]),
        ];
        let current = spec(&[], &held, &["bad", "gone"]);
        kept(&["bad"], &["bad", "new"]).add(&mut wanted, &current, &there(&["a", "b"]));
        let pods = [pod("a", &["bad"]), pod("b", &["bad", "new"])];
        assert_eq!(wanted, spec(&[], &pods, &["bad", "new"]));
    }
}
