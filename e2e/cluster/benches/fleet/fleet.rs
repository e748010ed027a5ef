//! Nodes and leaks, and changes of them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};
use vrfgate_operator::api::VrfLeak;

use crate::{agents::Agents, report::Phase};

/// Nodes that share a rack, and its leaks.
const RACK: usize = 20;

/// Objects that are made at once.
const AT_ONCE: usize = 16;

/// How long an edit may take until it is in force everywhere.
const IN_FORCE_TIMEOUT: Duration = Duration::from_mins(10);

/// Between edits, so that no two are seen together.
const PAUSE: Duration = Duration::from_millis(300);

/// The change.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// A port, of a leak that every node holds.
    Everywhere,
    /// A port, of a leak that one rack holds.
    OneRack,
    /// An annotation, of a leak that every node holds: nothing has to follow.
    Nowhere,
}

impl Edit {
    pub const ALL: [Self; 3] = [Self::Everywhere, Self::OneRack, Self::Nowhere];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Everywhere => "edit on all nodes",
            Self::OneRack => "edit on one rack",
            Self::Nowhere => "edit of an annotation",
        }
    }
}

/// Leaks and nodes of the cluster: every other leak is for all nodes, the others for one rack each.
pub struct Fleet {
    leaks: Api<VrfLeak>,
    names: Vec<String>,
    nodes: Vec<String>,
    /// The generation that is in force everywhere, by leak.
    ready: watch::Receiver<HashMap<String, i64>>,
}

impl Fleet {
    pub async fn create(client: &Client, nodes: usize, leaks: usize) -> anyhow::Result<Self> {
        let node_api: Api<Node> = Api::all(client.clone());
        let racks = nodes.div_ceil(RACK).max(1);
        create_all(&node_api, (0..nodes).map(node)).await?;
        let leak_api: Api<VrfLeak> = Api::all(client.clone());
        create_all(&leak_api, (0..leaks).map(|number| leak(number, racks))).await?;
        Ok(Self {
            ready: follow(leak_api.clone()),
            leaks: leak_api,
            names: (0..leaks).map(leak_name).collect(),
            nodes: (0..nodes).map(node_name).collect(),
        })
    }

    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Waits until all leaks are in force everywhere.
    pub async fn all_ready(&self) -> anyhow::Result<Phase> {
        let began = Instant::now();
        let mut ready = self.ready.clone();
        let all = ready.wait_for(|ready| ready.len() == self.names.len());
        tokio::time::timeout(IN_FORCE_TIMEOUT, all).await??;
        Ok(Phase {
            ready: vec![began.elapsed()],
            ..Phase::default()
        })
    }

    /// Edits one leak after the other, and waits each time until it is in force everywhere.
    pub async fn edits(&self, edit: Edit, times: usize, agents: &Agents) -> anyhow::Result<Phase> {
        let parity = usize::from(matches!(edit, Edit::OneRack));
        let candidates = self.names.iter().skip(parity).step_by(2);
        let mut phase = Phase::default();
        for (number, name) in candidates.cycle().take(times).enumerate() {
            let began = Instant::now();
            let patch = match edit {
                Edit::Everywhere | Edit::OneRack => {
                    json!({"spec": {"services": services(number + 2)}})
                }
                Edit::Nowhere => json!({"metadata": {"annotations": {"edit": number.to_string()}}}),
            };
            let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
            let edited = self.leaks.patch(name, &parameters, &patch).await?;
            let generation = edited.metadata.generation.unwrap_or_default();
            if matches!(edit, Edit::Nowhere) {
                // What must not happen has time to.
                sleep(PAUSE * 3).await;
                phase.edits += 1;
                continue;
            }
            let mut ready = self.ready.clone();
            let in_force = ready.wait_for(|ready| ready.get(name) == Some(&generation));
            tokio::time::timeout(IN_FORCE_TIMEOUT, in_force).await??;
            phase.ready.push(began.elapsed());
            let saw = agents.saw(name, generation);
            ensure!(
                !saw.is_empty(),
                "no node was told of generation {generation} of {name}"
            );
            let told = saw.iter().map(|at| at.saturating_duration_since(began));
            phase.told.extend(told);
            phase.edits += 1;
            sleep(PAUSE).await;
        }
        Ok(phase)
    }
}

async fn create_all<K>(api: &Api<K>, objects: impl Iterator<Item = Value>) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let parameters = PostParams::default();
    stream::iter(objects)
        .map(|object| {
            let parameters = &parameters;
            async move {
                let object: K = serde_json::from_value(object)?;
                api.create(parameters, &object).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Follows which generation of each leak is in force everywhere.
fn follow(leaks: Api<VrfLeak>) -> watch::Receiver<HashMap<String, i64>> {
    let (tell, ready) = watch::channel(HashMap::new());
    tokio::spawn(async move {
        let events = watcher(leaks, watcher::Config::default());
        let mut leaks = events.default_backoff().applied_objects().boxed();
        while let Some(leak) = leaks.next().await {
            let Ok(leak) = leak else { continue };
            let status = leak.status.clone().unwrap_or_default();
            let mut conditions = status.conditions.iter();
            let in_force = conditions
                .find(|condition| condition.type_ == "Ready" && condition.status == "True");
            if let Some(generation) = in_force.and_then(|condition| condition.observed_generation) {
                tell.send_modify(|ready| {
                    ready.insert(leak.name_any(), generation);
                });
            }
        }
    });
    ready
}

fn node_name(number: usize) -> String {
    format!("node-{number:04}")
}

fn node(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": node_name(number),
            "labels": {"kubernetes.io/os": "linux", "rack": format!("r{}", number / RACK)},
        },
    })
}

fn leak_name(number: usize) -> String {
    format!("leak-{number:02}")
}

fn leak(number: usize, racks: usize) -> Value {
    let mut spec = json!({
        "vrf": format!("VRF{number}"),
        "routes": [{"prefix": "192.0.2.0/24"}],
        "services": services(1),
    });
    if number % 2 == 1 {
        let rack = format!("r{}", number / 2 % racks);
        spec["nodeSelector"] = json!({"matchLabels": {"rack": rack}});
    }
    json!({
        "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfLeak",
        "metadata": {"name": leak_name(number)}, "spec": spec,
    })
}

/// Three services, of which one has another port in each version.
fn services(version: usize) -> Value {
    json!([
        {"name": "ssh", "protocol": "TCP", "port": 22, "sources": ["10.0.0.0/8"]},
        {"name": "dns", "protocol": "UDP", "port": 53},
        {"name": "web", "protocol": "TCP", "port": 8000 + version},
    ])
}
