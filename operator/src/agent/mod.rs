//! The node's side: the `VrfGateNode` of this node in, its status out; the gate itself is the node engine's.
//!
//! Whatever the API server does, the last good state stays in force: it is in the pins, and beside them lies
//! the object it was made of, so that an agent that starts anew goes on before it has met the API server.
//! Only an object that asks for nothing ends that: then the node is given back as it was before vrfgate.

#[cfg(feature = "fuzz")]
#[expect(
    clippy::missing_panics_doc,
    reason = "a promise that is not kept is what a fuzzer looks for"
)]
pub(crate) mod fuzz;

mod asked;
mod last;
mod leaving;
mod object;
mod pods;
mod reporter;
mod status;
mod stays;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use kube::{Client, ResourceExt as _};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::{info, warn};
use vrfgate_ebpf::{Error, Fate, Netns, Store};

pub use last::forget;

use self::{
    asked::{Asked, Edition},
    object::Object,
    pods::Pods,
    reporter::{Outcomes, Reporter},
};
use crate::{
    api::VrfGateNodeSpec,
    clear::clear,
    daemon_set::DaemonSetName,
    install::{Keeper as InstallKeeper, Wanted},
    node::{Keeper, Report, Settings, Stir, collect_leftovers},
    outage::Outage,
    serve::{self, Health},
};

/// Name under which the agent owns the status of its object.
const MANAGER: &str = "vrfgate-agent";

/// How often to look for what gates of namespaces that are gone have left.
const COLLECT_EVERY: Duration = Duration::from_mins(1);

/// How often a gate is tried to be put in that could not be put in at all, or to be taken away.
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
    /// What is kept installed for container runtimes.
    pub install: Option<Wanted>,
    /// When this is going, what was installed goes, too.
    pub daemon_set: Option<DaemonSetName>,
    /// How many files it may have open.
    pub open_files: u64,
}

/// Runs until `stop` turns true, or the namespace is gone.
///
/// # Errors
///
/// When what was in force can't be taken over, or no cluster is to be found.
pub async fn run(
    options: Options,
    store: &Store,
    netns: Netns,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    // It needs neither gate nor cluster, and pods that start want it.
    let install = options.install.clone().map(InstallKeeper::start);
    let mut agent = Agent {
        settings: options.settings,
        uninstalled: install.as_ref().map(InstallKeeper::unready),
        ..Agent::default()
    };
    let mut pods = Pods::start(store, options.settings, options.open_files)?;
    if let Some(spec) = last::load(store, &netns) {
        info!("taking over what was in force, before the API server is asked");
        agent.asked = Asked::new(&spec, None);
        pods.follow(&spec);
        agent.put_in_force(store, &netns).await;
        // A node that is given back forgets; its pods go on.
        agent.remember(store, &netns, &spec);
    }
    // Reads certificates, in its own time: gates and pods don't wait for it.
    let handle = Handle::current();
    let mut cluster = spawn_blocking(move || handle.block_on(Client::try_default()));
    let client = loop {
        tokio::select! {
            client = &mut cluster => {
                break client?
                    .context("finding the cluster, by KUBECONFIG or as a pod's service account")?;
            }
            stir = stirred(agent.keeper.as_mut()) => {
                if stir == Stir::Gone {
                    return Box::pin(agent.leave()).await;
                }
                agent.attend(stir).await;
            }
            stir = pods.stirred() => pods.attend(stir),
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    };
    let outage = Outage::default();
    let mut object = object::watch(&client, &options.node, outage.clone());
    let reporter = Reporter::start(&client, &options.node, outage);
    agent.tell_health();
    if let Some(address) = options.serve_on {
        let unready = Arc::clone(&agent.unready);
        let health: Health = Arc::new(move || {
            let unready = unready.lock().unwrap_or_else(PoisonError::into_inner);
            unready.clone()
        });
        serve::start(address, agent.registry(install.as_ref()), health).await?;
    }
    let mut collect = interval_at(Instant::now() + COLLECT_EVERY, COLLECT_EVERY);
    // Beside a keeper that looks ten times a second, a sleep would never end.
    let mut retry = interval_at(Instant::now() + RETRY_EVERY, RETRY_EVERY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            stir = stirred(agent.keeper.as_mut()) => {
                if stir == Stir::Gone {
                    return Box::pin(agent.leave()).await;
                }
                agent.attend(stir).await;
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
            stir = pods.stirred() => pods.attend(stir),
            () = told(agent.uninstalled.as_mut()) => {}
            _ = retry.tick(), if agent.trouble.is_some() || agent.stays.is_some() => {
                agent.put_in_force(store, &netns).await;
            }
            _ = collect.tick() => {
                let store = store.clone();
                spawn_blocking(move || collect_leftovers(&store));
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
        agent.tell_health();
        agent.report(&reporter, &pods);
    }
    info!("leaving; the gate of {netns} stays in force");
    // Nobody attends to plugins any more: they hear so, and can do the work themselves.
    drop(pods);
    if let (Some(keeper), Some(wanted)) = (install, options.install) {
        leaving::leave(keeper, wanted, client, options.daemon_set.as_ref(), store).await;
    }
    Ok(())
}

/// Another word on what isn't installed; none from nobody.
async fn told(uninstalled: Option<&mut watch::Receiver<Vec<String>>>) {
    if let Some(uninstalled) = uninstalled
        && uninstalled.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Without anybody who keeps a gate, nothing stirs.
async fn stirred(keeper: Option<&mut Keeper>) -> Stir {
    match keeper {
        Some(keeper) => keeper.stirred().await,
        None => std::future::pending().await,
    }
}

/// One node's agent.
#[derive(Default)]
struct Agent {
    asked: Asked,
    settings: Settings,
    /// None while it isn't known what shall be in force, and while nothing shall.
    keeper: Option<Keeper>,
    /// Why there is no keeper though there should be, or why the node could not be given back.
    trouble: Option<String>,
    /// Why the gate is there though nothing is asked for.
    stays: Option<String>,
    /// What was in force when the node was to be given back, while it could not be.
    left: Option<Report>,
    /// What of the CNI plugin isn't where it shall be.
    uninstalled: Option<watch::Receiver<Vec<String>>>,
    unready: Arc<Mutex<Vec<String>>>,
    changes: Counter,
    ready: Gauge,
}

impl Agent {
    /// Puts another edition of the object into force.
    async fn follow(&mut self, object: Object, node: &str, store: &Store, netns: &Netns) {
        let gate = match object {
            Object::Unknown => return,
            Object::Missing => {
                // Deleted by mistake, it comes back at once; deleted with its node, this machine is about to go.
                warn!(
                    node,
                    "there is no VrfGateNode of this node; what is in force stays"
                );
                return;
            }
            Object::Known(gate) => gate,
        };
        let edition = Edition {
            uid: gate.uid().unwrap_or_default(),
            generation: gate.metadata.generation.unwrap_or_default(),
            spec: gate.spec.clone(),
        };
        if self.asked.edition.as_ref() == Some(&edition) {
            return;
        }
        info!(node, "following edition {}", edition.generation);
        self.changes.inc();
        self.asked = Asked::new(&gate.spec, Some(edition));
        for (leak, why) in &self.asked.unread {
            warn!(leak, "can't be put into force by this version: {why}");
        }
        self.put_in_force(store, netns).await;
        self.remember(store, netns, &gate.spec);
    }

    /// For the next start, which may come before the API server can be reached.
    fn remember(&self, store: &Store, netns: &Netns, spec: &VrfGateNodeSpec) {
        if self.trouble.is_none()
            && *spec != VrfGateNodeSpec::default()
            && let Err(error) = last::save(store, netns, spec)
        {
            warn!("writing down what is in force, for the next start: {error}");
        }
    }

    /// Looks at what has stirred, and puts right what is amiss.
    async fn attend(&mut self, stir: Stir) {
        if let Some(keeper) = &mut self.keeper {
            keeper.attend(stir).await;
        }
    }

    async fn put_in_force(&mut self, store: &Store, netns: &Netns) {
        if self.asked.nothing() {
            self.give_back(store, netns).await;
            return;
        }
        self.stays = None;
        let leaks = self.asked.leaks.clone();
        if let Some(keeper) = &mut self.keeper {
            keeper.put_in_force(leaks).await;
            return;
        }
        match Keeper::start(store, netns.clone(), leaks, self.settings).await {
            Ok(keeper) => {
                self.keeper = Some(keeper);
                self.left = None;
                self.trouble = None;
            }
            Err(error) => self.note_trouble(error.to_string()),
        }
    }

    /// A node that no leak applies to is as it was before vrfgate, unless its gate is to stay: then it opens nothing.
    async fn give_back(&mut self, store: &Store, netns: &Netns) {
        if let Some(why) = self.why_it_stays(store, netns) {
            self.keep_shut(store, netns, why).await;
            return;
        }
        self.stays = None;
        if let Some(keeper) = self.keeper.take() {
            self.left = Some(keeper.report().clone());
        }
        match clear(store, netns, self.settings.shared_ports).await {
            Ok(cleared) => {
                if cleared.any() {
                    info!("nothing is asked for: {netns} is as it was before vrfgate");
                }
                self.left = None;
                self.trouble = None;
            }
            // Who had nothing to look after finds it out only now.
            Err(error) if matches!(error.downcast_ref(), Some(Error::PortShared { .. })) => {
                self.keep_shut(store, netns, error.to_string()).await;
            }
            Err(error) => {
                let error = format!("giving {netns} back: {error:#}");
                if let Some(left) = &mut self.left {
                    left.errors = vec![error.clone()];
                }
                self.note_trouble(error);
            }
        }
    }

    fn note_trouble(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            warn!("{trouble}; trying again every {RETRY_EVERY:?}");
        }
        self.trouble = Some(trouble);
    }

    fn tell_health(&self) {
        let mut unready = Vec::new();
        if self.asked.edition.is_none() {
            unready.push("what this node shall hold is not known yet".to_owned());
        }
        unready.extend(self.trouble.clone());
        if let Some(keeper) = &self.keeper {
            let report = keeper.report();
            unready.extend(report.waits.iter().chain(&report.errors).cloned());
        }
        if let Some(uninstalled) = &self.uninstalled {
            unready.extend(uninstalled.borrow().iter().cloned());
        }
        self.ready.set(i64::from(unready.is_empty()));
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = unready;
    }

    fn report(&self, reporter: &Reporter, pods: &Pods) {
        let Some(edition) = &self.asked.edition else {
            return;
        };
        let report = self.keeper.as_ref().map(Keeper::report);
        let report = report.or(self.left.as_ref());
        let outcomes = status::outcomes(
            &edition.spec,
            &self.asked.unread,
            report,
            self.trouble.as_deref(),
        );
        let (pods, pod_leaks) = pods.outcomes();
        let outcomes = Outcomes {
            leaks: outcomes
                .into_iter()
                .chain(pod_leaks)
                .map(Arc::new)
                .collect(),
            pods,
        };
        reporter.tell(&edition.uid, edition.generation, outcomes);
    }

    async fn leave(self) -> anyhow::Result<()> {
        let Some(keeper) = self.keeper else {
            return Ok(());
        };
        let netns = keeper.netns().to_string();
        match keeper.leave().await? {
            Fate::Gone => info!("leaving: {netns} is gone, and so is its gate"),
            Fate::Alive | Fate::Ending => {
                warn!("leaving: the name of {netns} is gone; its gate stays in force");
            }
        }
        Ok(())
    }

    fn registry(&self, install: Option<&InstallKeeper>) -> Arc<Registry> {
        let mut all = Registry::with_prefix("vrfgate_agent");
        all.register(
            "ready",
            "1 while the gate holds what it shall, and the CNI plugin is where it shall be",
            self.ready.clone(),
        );
        all.register(
            "editions",
            "Editions of the VrfGateNode that were followed",
            self.changes.clone(),
        );
        if let Some(install) = install {
            install.register(&mut all);
        }
        Arc::new(all)
    }
}
