//! Caches of everything the controller reads, kept by watching.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use futures_util::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{Namespace, Node, NodeStatus, Pod, PodSpec, PodStatus, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _, reflector,
        reflector::{Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::Notify, time::Instant};

use super::{metrics::Metrics, shared::Shared};
use crate::{
    api::{VrfGateNode, VrfLeak},
    outage::Outage,
};

/// The objects of the cluster, as far as they are known.
pub struct World {
    pub leaks: Store<VrfLeak>,
    pub gates: Store<VrfGateNode>,
    /// Values that those have in common.
    pub shared: Shared,
    pub nodes: Store<Node>,
    pub services: Store<Service>,
    pub slices: Store<EndpointSlice>,
    pods: OnceLock<Pods>,
    client: Client,
    changes: Arc<Changes>,
}

/// Changes since the last pass.
struct Changes {
    notify: Notify,
    /// When the first of them was noticed.
    since: Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
    outage: Outage,
}

impl Changes {
    fn note(&self) {
        // Only the leader makes passes.
        if self.metrics.leading.get() == 1 {
            self.metrics.changes_waiting.inc();
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            since.get_or_insert_with(Instant::now);
        }
        self.notify.notify_one();
    }
}

/// Caches of pods, which exist once a leak has selected any.
pub struct Pods {
    pub pods: Store<Pod>,
    pub namespaces: Store<Namespace>,
}

impl World {
    /// Starts to watch, in the background.
    pub fn watch(client: &Client, metrics: &Arc<Metrics>, outage: &Outage) -> Self {
        let shared = Shared::default();
        let changes = &Arc::new(Changes {
            notify: Notify::new(),
            since: Mutex::default(),
            metrics: Arc::clone(metrics),
            outage: outage.clone(),
        });
        Self {
            leaks: watch(client, changes, |_: &mut VrfLeak| {}),
            gates: watch(client, changes, {
                let shared = shared.clone();
                move |gate: &mut VrfGateNode| shared.share(gate)
            }),
            shared,
            // Only needed fields are kept: a node's list of images is larger than everything else.
            nodes: watch(client, changes, |node: &mut Node| {
                node.metadata.annotations = None;
                node.spec = None;
                node.status = node.status.take().map(|status| NodeStatus {
                    addresses: status.addresses,
                    ..NodeStatus::default()
                });
            }),
            services: watch(client, changes, |service: &mut Service| {
                service.status = None;
            }),
            slices: watch(client, changes, |_: &mut EndpointSlice| {}),
            pods: OnceLock::new(),
            client: client.clone(),
            changes: Arc::clone(changes),
        }
    }

    /// Whether any leak is for pods. Starts to watch pods the first time: most clusters have no such leak, and thousands
    /// of pods.
    pub fn needs_pods(&self) -> bool {
        let state = self.leaks.state();
        if self.pods.get().is_none() && state.iter().any(|leak| leak.spec.pods.is_some()) {
            let _ = self.pods.set(Pods {
                pods: watch(&self.client, &self.changes, trim_pod),
                namespaces: watch(&self.client, &self.changes, |namespace: &mut Namespace| {
                    namespace.status = None;
                }),
            });
        }
        self.pods.get().is_some()
    }

    /// Whether every pod is known.
    pub fn knows_pods(&self) -> bool {
        self.pods
            .get()
            .is_some_and(|pods| is_ready(&pods.pods) && is_ready(&pods.namespaces))
    }

    /// The caches of pods, if a leak has ever selected any.
    pub fn pods(&self) -> Option<&Pods> {
        self.pods.get()
    }

    /// Waits until something has changed since the last call returned.
    pub async fn changed(&self) {
        self.changes.notify.notified().await;
    }

    /// Takes all changes so far. Returns when the first of them was noticed.
    pub fn take_changes(&self) -> Option<Instant> {
        let mut since = self
            .changes
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.changes.metrics.changes_waiting.set(0);
        since.take()
    }

    /// Waits until all initial lists are complete.
    pub async fn synced(&self) {
        // A cache ends only with the process.
        let _ = self.leaks.wait_until_ready().await;
        let _ = self.gates.wait_until_ready().await;
        let _ = self.nodes.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.slices.wait_until_ready().await;
    }

    /// The kinds whose initial list isn't complete.
    pub fn unsynced(&self) -> Vec<String> {
        [
            ("VrfLeak", is_ready(&self.leaks)),
            ("VrfGateNode", is_ready(&self.gates)),
            ("Node", is_ready(&self.nodes)),
            ("Service", is_ready(&self.services)),
            ("EndpointSlice", is_ready(&self.slices)),
            ("Pod", self.pods.get().is_none() || self.knows_pods()),
        ]
        .into_iter()
        .filter(|(_, ready)| !ready)
        .map(|(kind, _)| format!("the list of {kind} is not there yet"))
        .collect()
    }
}

fn is_ready<K>(store: &Store<K>) -> bool
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    futures_util::FutureExt::now_or_never(store.wait_until_ready()).is_some()
}

/// Keeps labels, node, and whether the pod has ended; the rest would take far too much memory.
fn trim_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        node_name: spec.node_name,
        host_network: spec.host_network,
        ..PodSpec::default()
    });
    pod.status = pod.status.take().map(|status| PodStatus {
        phase: status.phase,
        ..PodStatus::default()
    });
}

/// Keeps a cache of all objects of a kind, `trim`med to what is needed.
fn watch<K>(
    client: &Client,
    changes: &Arc<Changes>,
    trim: impl Fn(&mut K) + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq,
{
    let changes = Arc::clone(changes);
    let writer: Writer<K> = Writer::default();
    let store = writer.as_reader();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .modify(move |object| {
            object.managed_fields_mut().clear();
            trim(object);
        })
        .default_backoff();
    let mut events = reflector(writer, events).boxed();
    tokio::spawn(async move {
        let kind = K::kind(&());
        let what = format!("watching {kind}");
        while let Some(event) = events.next().await {
            match event {
                // No answer yet.
                Ok(watcher::Event::Init) => {}
                // Noted once the list is complete.
                Ok(watcher::Event::InitApply(_)) => changes.outage.worked(&what),
                Ok(_) => {
                    changes.outage.worked(&what);
                    changes.note();
                }
                Err(error) => {
                    changes.metrics.watch_failed(&kind);
                    changes.outage.watch_failed(&what, &error);
                }
            }
        }
    });
    store
}
