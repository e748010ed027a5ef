//! Agents without kernels: each watches its own object, as a real one does, and reports it as done at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::task::JoinSet;
use vrfgate_operator::api::{NodeLeakState, VrfGateNode};

/// Agents of all nodes. They end with the value.
pub struct Agents {
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

/// What all of them have seen and done.
#[derive(Default)]
struct Seen {
    /// When an agent first saw a generation of a leak.
    generations: Mutex<HashMap<(String, i64), Vec<Instant>>>,
    reports: AtomicU64,
}

impl Agents {
    pub fn start(client: &Client, nodes: &[String]) -> Self {
        let seen = Arc::<Seen>::default();
        let mut tasks = JoinSet::new();
        for node in nodes {
            tasks.spawn(agent(client.clone(), node.clone(), Arc::clone(&seen)));
        }
        Self {
            seen,
            _tasks: tasks,
        }
    }

    /// Statuses written so far.
    pub fn reports(&self) -> u64 {
        self.seen.reports.load(Ordering::Relaxed)
    }

    /// When agents first saw a generation of a leak.
    pub fn saw(&self, leak: &str, generation: i64) -> Vec<Instant> {
        let generations = &self.seen.generations;
        let generations = generations.lock().unwrap_or_else(PoisonError::into_inner);
        let saw = generations.get(&(leak.to_owned(), generation));
        saw.cloned().unwrap_or_default()
    }
}

async fn agent(client: Client, node: String, seen: Arc<Seen>) {
    let api: Api<VrfGateNode> = Api::all(client);
    let only = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let gates = watcher(api.clone(), only)
        .default_backoff()
        .applied_objects();
    let mut gates = gates.boxed();
    let mut known: HashMap<String, i64> = HashMap::new();
    let mut reported = None;
    while let Some(gate) = gates.next().await {
        let Ok(gate) = gate else { continue };
        if reported == gate.metadata.generation {
            continue;
        }
        let leaks = gate.spec.leaks.iter();
        let leaks: HashMap<String, i64> = leaks
            .map(|leak| (leak.name.clone(), leak.generation))
            .collect();
        {
            let now = Instant::now();
            let generations = &seen.generations;
            let mut generations = generations.lock().unwrap_or_else(PoisonError::into_inner);
            for (leak, generation) in leaks
                .iter()
                .filter(|(leak, generation)| known.get(*leak) != Some(generation))
            {
                generations
                    .entry((leak.clone(), *generation))
                    .or_default()
                    .push(now);
            }
        }
        if report(&api, &node, &gate).await {
            seen.reports.fetch_add(1, Ordering::Relaxed);
            reported = gate.metadata.generation;
            known = leaks;
        }
    }
}

async fn report(api: &Api<VrfGateNode>, node: &str, gate: &VrfGateNode) -> bool {
    let leaks = gate.spec.leaks.iter().map(|leak| {
        let state = NodeLeakState::InForce;
        json!({"name": leak.name, "generation": leak.generation, "state": state})
    });
    let status = json!({
        "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfGateNode",
        "metadata": {"name": node, "uid": gate.metadata.uid},
        "status": {
            "observedGeneration": gate.metadata.generation,
            "leaks": leaks.collect::<Vec<_>>(),
        },
    });
    let parameters = PatchParams::apply("vrfgate-agent").force();
    api.patch_status(node, &parameters, &Patch::Apply(status))
        .await
        .is_ok()
}
