//! The node side of a cluster: reads the `VrfGateNode` of this node, and writes its status. The node engine keeps the
//! gate itself.
//!
//! Whatever happens to the API server, the last good state stays in force: the pins hold it, and a file beside them holds
//! the spec that it was made from, from which the next agent goes on before it has reached the API server.
//! Only a spec without leaks ends that: then the node is restored as it was before vrfgate.

#[cfg(feature = "fuzz")]
#[expect(
    clippy::missing_panics_doc,
    reason = "a promise that is not kept is what a fuzzer looks for"
)]
pub(crate) mod fuzz;

mod asked;
mod host;
mod leaving;
mod object;
mod pods;
mod reporter;
mod status;
mod stays;

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use kube::Client;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::info;
use vrfgate_ebpf::{Netns, Store};

use self::{asked::Asked, host::Agent, object::Object, pods::Pods, reporter::Reporter};
use crate::{
    daemon_set::DaemonSetName,
    install::{Keeper as InstallKeeper, Wanted},
    leftovers::collect_leftovers,
    node::{Event, Keeper, Settings},
    outage::Outage,
    saved_spec,
    serve::{self, Health},
};

/// Name under which the agent owns the status of its object.
const MANAGER: &str = "vrfgate-agent";

/// How often leftovers of gates are collected whose namespaces are gone.
const COLLECT_EVERY: Duration = Duration::from_mins(1);

/// How often to try again to attach a gate, or to remove one.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How an agent is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the node, and so of its `VrfGateNode`.
    pub node: String,
    /// Where metrics and health are served.
    pub serve_on: Option<SocketAddr>,
    /// How gates are kept.
    pub settings: Settings,
    /// What to keep installed for container runtimes.
    pub install: Option<Wanted>,
    /// What was installed is removed when this `DaemonSet` is going.
    pub daemon_set: Option<DaemonSetName>,
    /// How many files the process may have open.
    pub open_files: u64,
}

/// Runs until `stop` turns true, or the namespace is gone.
///
/// # Errors
///
/// When the plugin's socket or the metrics' address can't be listened on, or no cluster is found.
pub async fn run(
    options: Options,
    store: &Store,
    netns: Netns,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    // It needs neither gate nor cluster, and starting pods need it.
    let install = options.install.clone().map(InstallKeeper::start);
    let mut agent = Agent::new(
        options.settings,
        install.as_ref().map(InstallKeeper::unready),
    );
    let mut pods = Pods::start(store, options.settings, options.open_files)?;
    if let Some(spec) = saved_spec::load(store, &netns) {
        info!("taking over what was in force, before the API server is asked");
        agent.asked = Asked::new(&spec, None);
        pods.follow(&spec);
        agent.put_in_force(store, &netns).await;
        // Restoring a node removes the file, which its pods still need.
        agent.remember(store, &netns, &spec);
    }
    // Reading certificates may take a while: gates and pods don't wait for it.
    let handle = Handle::current();
    let mut cluster = spawn_blocking(move || handle.block_on(Client::try_default()));
    let client = loop {
        tokio::select! {
            client = &mut cluster => {
                break client?
                    .context("finding the cluster, by KUBECONFIG or as a pod's service account")?;
            }
            event = next_event(agent.keeper.as_mut()) => {
                if event == Event::Gone {
                    return Box::pin(agent.leave()).await;
                }
                agent.handle(event).await;
            }
            event = pods.event() => pods.handle(event),
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    };
    let outage = Outage::default();
    let mut object = object::watch(&client, &options.node, outage.clone());
    let reporter = Reporter::start(&client, &options.node, outage);
    agent.publish_health();
    if let Some(address) = options.serve_on {
        let unready = Arc::clone(&agent.unready);
        let health: Health = Arc::new(move || {
            let unready = unready.lock().unwrap_or_else(PoisonError::into_inner);
            unready.clone()
        });
        serve::start(address, agent.registry(install.as_ref()), health).await?;
    }
    let mut collect = interval_at(Instant::now() + COLLECT_EVERY, COLLECT_EVERY);
    // An interval, because the events of the keeper, ten a second, would restart a sleep again and again.
    let mut retry = interval_at(Instant::now() + RETRY_EVERY, RETRY_EVERY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = next_event(agent.keeper.as_mut()) => {
                if event == Event::Gone {
                    return Box::pin(agent.leave()).await;
                }
                agent.handle(event).await;
            }
            Ok(()) = object.changed() => {
                let object = object.borrow_and_update().clone();
                match &object {
                    Object::Unknown => {}
                    Object::Missing => pods.follow_nobody(),
                    Object::Known(gate) => pods.follow(&gate.spec),
                }
                agent.follow(object, &options.node, store, &netns).await;
            }
            event = pods.event() => pods.handle(event),
            () = changed(agent.uninstalled.as_mut()) => {}
            _ = retry.tick(), if agent.trouble.is_some() || agent.stays.is_some() => {
                agent.put_in_force(store, &netns).await;
            }
            _ = collect.tick() => {
                let store = store.clone();
                spawn_blocking(move || collect_leftovers(&store));
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
        agent.publish_health();
        agent.report(&reporter, &pods);
    }
    info!("leaving; the gate of {netns} stays in force");
    // Plugins learn from the closed socket that no agent attends, and do the work themselves.
    drop(pods);
    if let (Some(keeper), Some(wanted)) = (install, options.install) {
        leaving::leave(keeper, wanted, client, options.daemon_set.as_ref(), store).await;
    }
    Ok(())
}

/// Completes when the list of what isn't installed changes; never without an installation.
async fn changed(uninstalled: Option<&mut watch::Receiver<Vec<String>>>) {
    if let Some(uninstalled) = uninstalled
        && uninstalled.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Never completes without a keeper.
async fn next_event(keeper: Option<&mut Keeper>) -> Event {
    match keeper {
        Some(keeper) => keeper.next_event().await,
        None => std::future::pending().await,
    }
}
