//! The cluster side: `VrfLeak`s, nodes, Services and their endpoints in; one `VrfGateNode` a node, and the
//! status of each leak, out.
//!
//! Level-triggered like the node engine: whatever changes, the whole cluster is looked at again, from caches,
//! and only what differs is written. What has to be decided is decided by the pure
//! [`vrfgate_core`]; here is what takes an API server. Knows nothing of BPF and netlink.

mod events;
mod findings;
mod gates;
mod kept;
mod lease;
mod metrics;
mod pass;
mod recent;
mod shared;
mod status;
mod view;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::Client;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};
use vrfgate_machine::release_free_memory;

pub(crate) use self::gates::holds;
use self::{lease::Election, metrics::Metrics, pass::Pass, world::World};
use crate::{
    outage::Outage,
    serve::{self, Health},
};

/// Name under which the controller owns fields, reports events and is known in logs.
pub const MANAGER: &str = "vrfgate-controller";

/// One look at the cluster serves all changes that come within this time.
const SETTLE: Duration = Duration::from_millis(100);
/// First wait after writes that failed; each further failure doubles it.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after writes that failed.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A look that nothing asked for, in case a change was missed.
const ANYWAY: Duration = Duration::from_mins(5);

/// How a controller is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where metrics and health are served.
    pub serve_on: Option<SocketAddr>,
    /// Kubernetes namespace of the lease.
    pub lease_namespace: Option<String>,
    /// Name of the lease.
    pub lease_name: String,
    /// What this replica calls itself in the lease.
    pub identity: String,
}

/// Runs until `stop` turns true.
///
/// # Errors
///
/// When there is no cluster to be found, or metrics can't be served.
pub async fn run(options: Options, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("finding the cluster, by KUBECONFIG or as a pod's service account")?;
    let metrics = Arc::new(Metrics::default());
    let outage = Outage::default();
    let world = Arc::new(World::watch(&client, &metrics, &outage));
    let namespace = options
        .lease_namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let (election, leading) = Election::new(
        &client,
        &namespace,
        &options.lease_name,
        options.identity,
        outage,
    );
    let election = tokio::spawn(election.run(stop.clone()));
    if let Some(address) = options.serve_on {
        let health: Health = {
            let world = Arc::clone(&world);
            Arc::new(move || world.unsynced())
        };
        serve::start(address, metrics.registry(), health).await?;
    }

    let mut pass = Pass::new(&client, Arc::clone(&world), Arc::clone(&metrics));
    let work = follow(&world, &mut pass, leading, &metrics);
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => info!("leaving; gates stay as they are"),
    }
    // Gives the lease back, so that the next one need not wait for it to run out.
    election.await.context("waiting for the election to end")
}

/// Looks at the cluster whenever something changed, while this replica leads.
async fn follow(
    world: &World,
    pass: &mut Pass,
    mut leading: watch::Receiver<bool>,
    metrics: &Metrics,
) {
    let mut retry = RETRY_FIRST;
    let mut again = Instant::now();
    loop {
        if !*leading.borrow_and_update() {
            metrics.leading.set(0);
            if leading.changed().await.is_err() {
                return;
            }
            continue;
        }
        if metrics.leading.set(1) == 0 {
            info!("this replica leads");
            world.synced().await;
            pass.forget();
            again = Instant::now();
        }
        tokio::select! {
            changed = leading.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = world.changed() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep_until(again) => {}
        }
        let waited = world.take_changes();
        let failures = pass.run(&leading).await;
        // In a large fleet, a pass frees more memory than the controller goes on using.
        release_free_memory();
        if let Some(since) = waited {
            metrics
                .change_seconds
                .observe(since.elapsed().as_secs_f64());
        }
        again = Instant::now();
        if failures == 0 {
            retry = RETRY_FIRST;
            again += ANYWAY;
        } else {
            warn!("{failures} writes failed; trying again in {retry:?}");
            again += retry;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }
}
