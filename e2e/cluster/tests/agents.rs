//! Agents of nodes that are only objects: they report what they are asked for as done, at once.

use futures_util::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::task::JoinHandle;
use vrfgate_operator::api::{NodeLeakState, VrfGateNode};

/// Agents of all nodes. They end with the value.
pub struct Agents(JoinHandle<()>);

impl Agents {
    pub fn of_all_nodes(client: &Client) -> Self {
        let api: Api<VrfGateNode> = Api::all(client.clone());
        Self(tokio::spawn(async move {
            let events = watcher(api.clone(), watcher::Config::default());
            let gates = events.default_backoff().applied_objects();
            gates
                .for_each_concurrent(16, |gate| {
                    let api = api.clone();
                    async move {
                        if let Ok(gate) = gate {
                            let status = gate.status.clone().unwrap_or_default();
                            if status.observed_generation != gate.metadata.generation {
                                report(&api, &gate, NodeLeakState::InForce, &[]).await;
                            }
                        }
                    }
                })
                .await;
        }))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reports one state for all leaks of a node.
pub async fn report(
    api: &Api<VrfGateNode>,
    gate: &VrfGateNode,
    state: NodeLeakState,
    notes: &[&str],
) {
    report_why(api, gate, state, None, notes).await;
}

/// As [`report`], with a word for the reason.
pub async fn report_why(
    api: &Api<VrfGateNode>,
    gate: &VrfGateNode,
    state: NodeLeakState,
    reason: Option<&str>,
    notes: &[&str],
) {
    let leaks = gate
        .spec
        .leaks
        .iter()
        .chain(&gate.spec.pod_leaks)
        .map(|leak| {
            json!({
                "name": leak.name,
                "generation": leak.generation,
                "state": state,
                "reason": reason,
                "notes": notes,
            })
        });
    let leaks: Vec<_> = leaks.collect();
    let ready = state != NodeLeakState::Failed || leaks.is_empty();
    let status = json!({"status": {
        "observedGeneration": gate.metadata.generation,
        "conditions": [{
            "type": "Ready",
            "status": if ready { "True" } else { "False" },
            "reason": if ready { "InForce" } else { "Failed" },
            "message": notes.join("; "),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "leaks": leaks,
    }});
    // The node may be gone by now.
    let _ = api
        .patch_status(
            &gate.name_any(),
            &PatchParams::default(),
            &Patch::Merge(status),
        )
        .await;
}
