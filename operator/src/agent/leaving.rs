//! An agent ends: is it for good?
//!
//! Agents are stopped for updates, drains and reboots, too. What a node's pods need is taken away only when the
//! agents' `DaemonSet` is really going; whoever is in doubt leaves it.

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

/// A pod has 30 seconds to end, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends what keeps the plugin in its place, and takes it away if the `DaemonSet` is going.
pub async fn leave(
    keeper: Keeper,
    wanted: Wanted,
    client: Client,
    daemon_set: Option<&DaemonSetName>,
    store: &Store,
) {
    keeper.stop().await;
    let Some(daemon_set) = daemon_set else {
        info!("the CNI plugin stays: nobody has said which DaemonSet this agent is of");
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
                "the CNI plugin stays, because nobody knows whether DaemonSet {daemon_set} is going: {error}; \
                 `vrfgate uninstall-cni` takes it away"
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
        Ok(said) => {
            for said in said {
                info!("{said}");
            }
        }
        Err(error) => warn!("taking the CNI plugin away: {error:#}"),
    }
}

async fn is_going(client: Client, daemon_set: &DaemonSetName) -> Result<bool, String> {
    let api: Api<DaemonSet> = Api::namespaced(client, &daemon_set.namespace);
    match timeout(PATIENCE, api.get(&daemon_set.name)).await {
        Err(_) => Err("the API server doesn't answer".to_owned()),
        Ok(Ok(there)) => Ok(there.metadata.deletion_timestamp.is_some()),
        // Not everything that isn't found is a DaemonSet that isn't there.
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
