//! Before vrfgate is uninstalled, and while controller and agents still run: deletes every `VrfLeak`, waits until no
//! node holds anything of one, and then ends the agents.
//!
//! The agents' `DaemonSet` is deleted here, and not left to helm: an agent that ends asks the API server whether to remove
//! the CNI plugin, which it can only while its service account exists.

use std::{collections::BTreeSet, time::Duration};

use anyhow::bail;
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{Api, Client, Error, ResourceExt as _, api::DeleteParams};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{EVERY, all, ask, client, networks::report_networks, some_of};
use crate::{
    api::{VrfGateNode, VrfLeak},
    controller::holds,
    daemon_set::DaemonSetName,
};

/// Withdraws everything.
///
/// # Errors
///
/// When nodes still hold leaks after `timeout`, or agents have not ended; the message names them.
pub async fn withdraw(timeout: Duration, agents: Option<&DaemonSetName>) -> anyhow::Result<()> {
    let client = client().await?;
    let deadline = Instant::now() + timeout;
    withdraw_leaks(&client, timeout, deadline).await?;
    report_networks(&client, deadline).await;
    if let Some(agents) = agents {
        end_agents(&client, agents, timeout, deadline).await?;
    }
    Ok(())
}

async fn withdraw_leaks(
    client: &Client,
    timeout: Duration,
    deadline: Instant,
) -> anyhow::Result<()> {
    let leaks: Api<VrfLeak> = Api::all(client.clone());
    let gates: Api<VrfGateNode> = Api::all(client.clone());
    let mut logged = String::new();
    loop {
        let left = all(&leaks, "listing the VrfLeaks", deadline).await?;
        if left.is_empty() {
            info!("there are no VrfLeaks any more, and no node holds anything of one");
            return Ok(());
        }
        for leak in &left {
            if leak.metadata.deletion_timestamp.is_none() {
                delete(&leaks, &leak.name_any(), deadline).await?;
            }
        }
        let gates = all(&gates, "listing the VrfGateNodes", deadline).await?;
        let pending = pending(&left, &gates);
        if pending != logged {
            info!("waiting: {pending}");
            logged.clone_from(&pending);
        }
        if Instant::now() + EVERY >= deadline {
            bail!(
                "after {timeout:?}, VrfLeaks are still there: {pending}. Nothing else was removed. If a node is gone for \
                 good, delete its Node; if it comes back, wait for it; then try again. To uninstall regardless, and \
                 leave what is in force there until it reboots: helm uninstall --no-hooks"
            );
        }
        sleep(EVERY).await;
    }
}

async fn delete(leaks: &Api<VrfLeak>, name: &str, deadline: Instant) -> anyhow::Result<()> {
    let what = format!("deleting the VrfLeak {name}");
    ask(&what, deadline, async || {
        match leaks.delete(name, &DeleteParams::default()).await {
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    })
    .await?;
    info!("the VrfLeak {name} is being deleted");
    Ok(())
}

/// Which leaks still exist, and which nodes hold them.
fn pending(leaks: &[VrfLeak], gates: &[VrfGateNode]) -> String {
    let names: Vec<String> = leaks.iter().map(VrfLeak::name_any).collect();
    let holders: BTreeSet<String> = gates
        .iter()
        .filter(|gate| names.iter().any(|name| holds(gate, name)))
        .map(VrfGateNode::name_any)
        .collect();
    let holders: Vec<String> = holders.into_iter().collect();
    let who = if holders.is_empty() {
        "no node holds them: does a controller run, or has somebody else a finalizer on them?"
            .to_owned()
    } else {
        format!("nodes that have not released them: {}", some_of(&holders))
    };
    format!("{} ({who})", some_of(&names))
}

async fn end_agents(
    client: &Client,
    agents: &DaemonSetName,
    timeout: Duration,
    deadline: Instant,
) -> anyhow::Result<()> {
    let DaemonSetName { namespace, name } = agents;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    // In the foreground: the object exists until the last of its pods has ended.
    let foreground = DeleteParams::foreground();
    let what = format!("deleting the DaemonSet {namespace}/{name}");
    ask(&what, deadline, async || {
        match sets.delete(name, &foreground).await {
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    })
    .await?;
    info!("the agents are asked to end");
    let what = format!("looking for the DaemonSet {namespace}/{name}");
    while ask(&what, deadline, async || sets.get_opt(name).await)
        .await?
        .is_some()
    {
        if Instant::now() + EVERY >= deadline {
            let nodes = nodes_of(client, agents, Instant::now() + EVERY * 10).await;
            bail!(
                "after {timeout:?}, agents have not ended: {}. No VrfLeak is in force any more. If a node is gone for \
                 good, delete its Node; then try again. To uninstall regardless, and leave the CNI plugin there: helm \
                 uninstall --no-hooks",
                nodes.unwrap_or_else(|error| format!("{error:#}"))
            );
        }
        sleep(EVERY).await;
    }
    info!("the agents have ended");
    Ok(())
}

/// The nodes that have an agent.
async fn nodes_of(
    client: &Client,
    agents: &DaemonSetName,
    deadline: Instant,
) -> anyhow::Result<String> {
    let DaemonSetName { namespace, name } = agents;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = all(&pods, "listing the agents' pods", deadline).await?;
    let ours = pods.iter().filter(|pod| {
        pod.owner_references()
            .iter()
            .any(|owner| owner.kind == "DaemonSet" && owner.name == *name)
    });
    let nodes: Vec<String> = ours
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect();
    Ok(if nodes.is_empty() {
        "none has a pod left, but the DaemonSet is there: does the garbage collector of Kubernetes run?"
            .to_owned()
    } else {
        format!("nodes that have one: {}", some_of(&nodes))
    })
}
