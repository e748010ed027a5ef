//! The state of pods and of their leaks, in the terms of `VrfGateNode`. Pure.

use std::sync::Arc;

use vrfgate_core::Pod;

use super::{super::status::node_state, gate::State};
use crate::{
    api::{GateLeak, LeakOutcome, NodeLeakState, PodOutcome, VrfGateNodeSpec},
    node::Reason,
};

/// The outcome of each pod that has a gate or should have one, and of each leak for pods, summed up.
pub fn outcomes(
    asked: &VrfGateNodeSpec,
    states: &[(Option<&Pod>, State)],
) -> (Vec<PodOutcome>, Vec<LeakOutcome>) {
    let mut pods: Vec<PodOutcome> = states
        .iter()
        .filter_map(|(pod, state)| Some(pod_outcome((*pod)?, state)))
        .collect();
    for pod in &asked.pods {
        let is_there =
            |outcome: &PodOutcome| outcome.namespace == pod.namespace && outcome.name == pod.name;
        if !pods.iter().any(is_there) {
            let leaks = asked.pod_leaks.iter();
            let waiting = leaks.filter(|leak| pod.leaks.contains(&leak.name));
            pods.push(PodOutcome {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                leaks: waiting.map(|leak| unattached(leak).into()).collect(),
                notes: vec![
                    "has no VRF that the CNI plugin vrfgate knows of: is the plugin in the network's chain, \
                     behind the one that makes the VRF?"
                        .to_owned(),
                ],
            });
        }
    }
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let leaks = asked
        .pod_leaks
        .iter()
        .map(|leak| sum(leak, &pods))
        .collect();
    (pods, leaks)
}

fn unattached(leak: &GateLeak) -> LeakOutcome {
    LeakOutcome {
        name: leak.name.clone(),
        generation: leak.generation,
        state: NodeLeakState::Waiting,
        reason: None,
        notes: vec![],
    }
}

fn pod_outcome(pod: &Pod, state: &State) -> PodOutcome {
    let failure = state.failure().map(|failure| failure.why);
    let leaks = state.wanted.leaks.iter().map(|leak| {
        let why = |name: &str| {
            let left_out = state.left_out.iter().find(|(left, _)| left == name);
            left_out.map(|(_, why)| why.clone())
        };
        let reports = state.report.iter().flat_map(|report| &report.leaks);
        let mut kept = reports.filter(|kept| kept.name == leak.name);
        let (outcome, reason, notes) = match (why(&leak.name), &failure, kept.next()) {
            (Some(why), _, _) => (NodeLeakState::Failed, Some(Reason::Conflict), vec![why]),
            (None, _, Some(kept)) if kept.reason == Some(Reason::PortShared) => {
                (NodeLeakState::Failed, kept.reason, kept.notes.clone())
            }
            (None, Some(failure), _) => (NodeLeakState::Failed, None, vec![failure.clone()]),
            (None, None, Some(kept)) => (node_state(kept.state), kept.reason, kept.notes.clone()),
            (None, None, None) => (NodeLeakState::Waiting, None, vec![]),
        };
        LeakOutcome {
            name: leak.name.clone(),
            generation: leak.generation,
            state: outcome,
            reason: reason.map(|reason| reason.as_str().to_owned()),
            notes,
        }
    });
    // Services of the network configuration that aren't in force.
    let attachments = state.left_out.iter();
    let attachments =
        attachments.filter(|(name, _)| !state.wanted.leaks.iter().any(|leak| leak.name == *name));
    let notes = attachments.map(|(name, why)| format!("{name}: {why}"));
    PodOutcome {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        leaks: leaks.map(Arc::new).collect(),
        notes: notes.chain(failure.clone()).collect(),
    }
}

/// The worst state of the leak, and where.
fn sum(leak: &GateLeak, pods: &[PodOutcome]) -> LeakOutcome {
    let of_pods: Vec<(&PodOutcome, &LeakOutcome)> = pods
        .iter()
        .flat_map(|pod| pod.leaks.iter().map(move |outcome| (pod, &**outcome)))
        .filter(|(_, outcome)| outcome.name == leak.name && outcome.generation == leak.generation)
        .collect();
    let mut sum = LeakOutcome {
        name: leak.name.clone(),
        generation: leak.generation,
        state: if of_pods.is_empty() {
            NodeLeakState::Waiting
        } else {
            NodeLeakState::InForce
        },
        reason: None,
        notes: Vec::new(),
    };
    for state in [NodeLeakState::Waiting, NodeLeakState::Failed] {
        let mut such = of_pods.iter().filter(|(_, outcome)| outcome.state == state);
        let Some((pod, outcome)) = such.next() else {
            continue;
        };
        let why: Vec<&str> = outcome
            .notes
            .iter()
            .chain(&pod.notes)
            .map(String::as_str)
            .collect();
        sum.state = state;
        sum.reason.clone_from(&outcome.reason);
        let more = match such.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let why = if why.is_empty() {
            "not in force yet".to_owned()
        } else {
            why.join("; ")
        };
        sum.notes = vec![format!("pod {}/{}{more}: {why}", pod.namespace, pod.name)];
    }
    sum
}
