//! Caches of everything the controller reads, kept by watching.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures_util::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{Node, Service},
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
use tokio::sync::Notify;
use tracing::warn;

use super::metrics::Metrics;
use crate::api::{VrfGateNode, VrfLeak};

/// What there is in the cluster, as far as it is known.
pub struct World {
    pub leaks: Store<VrfLeak>,
    pub gates: Store<VrfGateNode>,
    pub nodes: Store<Node>,
    pub services: Store<Service>,
    pub slices: Store<EndpointSlice>,
    changed: Arc<Notify>,
}

impl World {
    /// Begins to watch, in the background.
    pub fn watch(client: &Client, metrics: &Arc<Metrics>) -> Self {
        let changed = Arc::new(Notify::new());
        Self {
            leaks: watch(client, metrics, &changed, |_: &mut VrfLeak| {}),
            gates: watch(client, metrics, &changed, |_: &mut VrfGateNode| {}),
            // What isn't needed isn't kept: a node's list of images is larger than everything else.
            nodes: watch(client, metrics, &changed, |node: &mut Node| {
                node.spec = None;
                if let Some(status) = &mut node.status {
                    status.images = None;
                    status.conditions = None;
                }
            }),
            services: watch(client, metrics, &changed, |service: &mut Service| {
                service.status = None;
            }),
            slices: watch(client, metrics, &changed, |_: &mut EndpointSlice| {}),
            changed,
        }
    }

    /// Waits until something has changed since the last call returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until everything that was there at the beginning is known.
    pub async fn synced(&self) {
        // A cache ends only with the process.
        let _ = self.leaks.wait_until_ready().await;
        let _ = self.gates.wait_until_ready().await;
        let _ = self.nodes.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.slices.wait_until_ready().await;
    }

    /// The kinds of which not everything is known yet.
    pub fn unsynced(&self) -> Vec<String> {
        fn ready<K>(store: &Store<K>) -> bool
        where
            K: Resource<DynamicType = ()> + Clone + 'static,
        {
            futures_util::FutureExt::now_or_never(store.wait_until_ready()).is_some()
        }
        [
            ("VrfLeak", ready(&self.leaks)),
            ("VrfGateNode", ready(&self.gates)),
            ("Node", ready(&self.nodes)),
            ("Service", ready(&self.services)),
            ("EndpointSlice", ready(&self.slices)),
        ]
        .into_iter()
        .filter(|(_, ready)| !ready)
        .map(|(kind, _)| format!("the list of {kind} is not there yet"))
        .collect()
    }
}

/// Keeps a cache of all objects of a kind, `trim`med to what is needed.
fn watch<K>(
    client: &Client,
    metrics: &Arc<Metrics>,
    changed: &Arc<Notify>,
    trim: impl Fn(&mut K) + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq,
{
    let (metrics, changed) = (Arc::clone(metrics), Arc::clone(changed));
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
        while let Some(event) = events.next().await {
            match event {
                // Told once all of the list is in.
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => changed.notify_one(),
                Err(error) => {
                    metrics.watch_failed(&kind);
                    warn!("watching {kind}: {error}; what was known stays");
                }
            }
        }
    });
    store
}
