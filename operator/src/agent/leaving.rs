//! Decides whether an agent that ends removes the CNI plugin.
//!
//! Agents are stopped for updates, drains and reboots, too. What a node's pods need is removed only when the agents'
//! `DaemonSet` is being deleted; in doubt, it stays.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client, Error};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};
use vrfgate_ebpf::Store;

use crate::{
    daemon_set::DaemonSetName,
    install::{Keeper, Wanted},
};

/// Timeout of the question. A pod has 30 seconds to end by default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Stops `keeper`, and removes the plugin if the `DaemonSet` is going.
pub async fn leave(
    keeper: Keeper,
    wanted: Wanted,
    client: Client,
    daemon_set: Option<&DaemonSetName>,
    store: &Store,
) {
    keeper.stop().await;
    let Some(daemon_set) = daemon_set else {
        info!("the CNI plugin stays: no --daemon-set was given");
        return;
    };
    match is_going(client, daemon_set).await {
        Ok(true) => {}
        Ok(false) => {
            info!("the CNI plugin stays: DaemonSet {daemon_set} is there");
            return;
        }
        Err(error) => {
            warn!(
                "the CNI plugin stays, because it is not known whether DaemonSet {daemon_set} is going: {error}; \
                 `vrfgate uninstall-cni` removes it"
            );
            return;
        }
    }
    info!("DaemonSet {daemon_set} is going");
    if let Err(error) = store.remove_empty_pins() {
        warn!(
            "removing the directory of pins below {}: {error}",
            store.bpffs().display()
        );
    }
    let store = store.clone();
    let done = spawn_blocking(move || wanted.uninstall(&store)).await;
    match done.map_err(Into::into).and_then(|done| done) {
        Ok(steps) => {
            for step in steps {
                info!("{step}");
            }
        }
        Err(error) => warn!("removing the CNI plugin: {error:#}"),
    }
}

async fn is_going(client: Client, daemon_set: &DaemonSetName) -> Result<bool, String> {
    let api: Api<DaemonSet> = Api::namespaced(client, &daemon_set.namespace);
    match timeout(TIMEOUT, api.get(&daemon_set.name)).await {
        Err(_) => Err("the API server doesn't answer".to_owned()),
        Ok(Ok(there)) => Ok(there.metadata.deletion_timestamp.is_some()),
        // A 404 may be about something else than the DaemonSet.
        Ok(Err(Error::Api(answer)))
            if answer.code == 404
                && answer
                    .details
                    .as_ref()
                    .is_some_and(|details| details.kind == "daemonsets") =>
        {
            Ok(true)
        }
        Ok(Err(error)) => Err(error.to_string()),
    }
}
