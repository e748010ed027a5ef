//! Writes the `VrfGateNode`s: those that differ, and no other.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, Error, Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions},
};
use tokio::sync::watch;
use tracing::{debug, error, info};

use super::{MANAGER, metrics::Metrics, recent::Recent, world::World};
use crate::api::{VrfGateNode, VrfGateNodeSpec};

/// Concurrent writes. More would only queue in the API server.
const AT_ONCE: usize = 16;

/// The desired spec of a node's object, and the node's UID.
pub struct WantedGate {
    pub node_uid: String,
    pub spec: VrfGateNodeSpec,
}

/// The `VrfGateNode`s of the cluster.
pub struct Gates {
    api: Api<VrfGateNode>,
    world: Arc<World>,
    metrics: Arc<Metrics>,
    recent: Recent<Arc<VrfGateNode>>,
}

impl Gates {
    pub fn new(client: &Client, world: Arc<World>, metrics: Arc<Metrics>) -> Self {
        Self {
            api: Api::all(client.clone()),
            world,
            metrics,
            recent: Recent::default(),
        }
    }

    /// Forgets what was written: another replica may have written since.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    /// All objects, each in the newest generation known; the status comes from the cache.
    pub fn current(&mut self) -> BTreeMap<String, Arc<VrfGateNode>> {
        let state = self.world.gates.state();
        let newest = state.into_iter().map(|gate| {
            let name = gate.name_any();
            let written = self.recent.get(&name, |written| {
                written.uid() != gate.uid()
                    || written.metadata.generation <= gate.metadata.generation
            });
            let gate = match written {
                Some(written) => {
                    let mut newest = VrfGateNode::clone(written);
                    newest.status.clone_from(&gate.status);
                    Arc::new(newest)
                }
                None => gate,
            };
            (name, gate)
        });
        newest.collect()
    }

    /// Brings all in line with `wanted`, while this replica leads. Returns how many writes failed.
    pub async fn write(
        &mut self,
        wanted: &BTreeMap<String, WantedGate>,
        leading: &watch::Receiver<bool>,
    ) -> usize {
        let current = self.current();
        let changed = wanted.iter().filter(|(name, wanted)| {
            let current = current.get(*name);
            current.is_none_or(|gate| !is_as_wanted(gate, wanted))
        });
        let orphans = current
            .values()
            .filter(|gate| !wanted.contains_key(&gate.name_any()));

        let api = &self.api;
        let applied: Vec<(&String, Result<VrfGateNode, Error>)> = stream::iter(changed)
            .take_while(|_| async { *leading.borrow() })
            .map(|(name, wanted)| async move { (name, apply(api, name, wanted).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let removed: Vec<(String, Result<(), Error>)> = stream::iter(orphans)
            .take_while(|_| async { *leading.borrow() })
            .map(|gate| async move { (gate.name_any(), remove(api, gate).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;

        let mut failures = 0;
        for (name, result) in applied {
            match result {
                Ok(mut gate) => {
                    debug!(node = name, "gate written");
                    self.metrics.wrote("gate");
                    gate.managed_fields_mut().clear();
                    self.world.shared.share(&mut gate);
                    self.recent.note(name, Arc::new(gate));
                }
                Err(error) => {
                    // One line for all: there may be a thousand, which fail for the same reason.
                    if failures == 0 {
                        error!(node = name, "writing the VrfGateNode: {error}");
                    } else {
                        debug!(node = name, "writing the VrfGateNode: {error}");
                    }
                    self.metrics.failed("gate");
                    failures += 1;
                }
            }
        }
        for (name, result) in removed {
            self.recent.remove(&name);
            match result {
                Ok(()) => {
                    info!(node = name, "its VrfGateNode is removed with the node");
                    self.metrics.wrote("gate");
                }
                Err(error) => {
                    error!(node = name, "removing the VrfGateNode: {error}");
                    self.metrics.failed("gate");
                    failures += 1;
                }
            }
        }
        failures
    }
}

fn is_as_wanted(gate: &VrfGateNode, wanted: &WantedGate) -> bool {
    let owner = gate.owner_references().first();
    gate.spec == wanted.spec && owner.is_some_and(|owner| owner.uid == wanted.node_uid)
}

async fn apply(
    api: &Api<VrfGateNode>,
    name: &str,
    wanted: &WantedGate,
) -> Result<VrfGateNode, Error> {
    let mut gate = VrfGateNode::new(name, wanted.spec.clone());
    gate.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        // So that it is removed with its node even where no controller runs any more.
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.to_owned(),
            uid: wanted.node_uid.clone(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(&gate)).await
}

async fn remove(api: &Api<VrfGateNode>, gate: &VrfGateNode) -> Result<(), Error> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: gate.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&gate.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        // Already gone, or replaced.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the agent of a node may still hold something of a leak.
pub fn holds(gate: &VrfGateNode, leak: &str) -> bool {
    // Called for every leak and node: copies nothing.
    let (seen, held) = gate.status.as_ref().map_or((None, &[][..]), |status| {
        (status.observed_generation, status.leaks.as_slice())
    });
    let mut asked = gate.spec.leaks.iter().chain(&gate.spec.pod_leaks);
    let asked_for = asked.any(|asked| asked.name == leak);
    // An agent that has reported before may still be applying an older generation.
    let behind = seen.is_some_and(|seen| Some(seen) < gate.meta().generation);
    asked_for || behind || held.iter().any(|held| held.name == leak)
}
