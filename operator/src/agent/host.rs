//! The gate of the node itself: follows the object, and reports what came of it. Pods are another part's.

use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt as _;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::sync::watch;
use tracing::{info, warn};
use vrfgate_ebpf::{Error, Fate, Netns, Store};

use super::{
    RETRY_EVERY,
    asked::{Asked, Generation},
    object::Object,
    pods::Pods,
    reporter::{Outcomes, Reporter},
    status,
};
use crate::{
    api::VrfGateNodeSpec,
    clear::clear,
    install::Keeper as InstallKeeper,
    node::{Event, Keeper, Report, Settings},
    saved_spec,
};

/// The part of the agent that keeps the node itself.
#[derive(Default)]
pub(super) struct Agent {
    pub(super) asked: Asked,
    pub(super) settings: Settings,
    /// None while the desired state is unknown, and while there is nothing to put into force.
    pub(super) keeper: Option<Keeper>,
    /// Why there is no keeper though there should be, or why the node could not be restored.
    pub(super) trouble: Option<String>,
    /// Why the gate stays attached though no leak applies to the node.
    pub(super) stays: Option<String>,
    /// What was in force when restoring the node began, until that succeeds.
    pub(super) left: Option<Report>,
    /// The parts of the CNI plugin that aren't in their places.
    pub(super) uninstalled: Option<watch::Receiver<Vec<String>>>,
    pub(super) unready: Arc<Mutex<Vec<String>>>,
    changes: Counter,
    ready: Gauge,
}

impl Agent {
    pub(super) fn new(
        settings: Settings,
        uninstalled: Option<watch::Receiver<Vec<String>>>,
    ) -> Self {
        Self {
            settings,
            uninstalled,
            ..Self::default()
        }
    }

    /// Puts another generation of the object into force.
    pub(super) async fn follow(
        &mut self,
        object: Object,
        node: &str,
        store: &Store,
        netns: &Netns,
    ) {
        let gate = match object {
            Object::Unknown => return,
            Object::Missing => {
                // Deleted by mistake, it comes back at once; deleted with its node, this machine is about to leave.
                warn!(
                    node,
                    "there is no VrfGateNode of this node; what is in force stays"
                );
                return;
            }
            Object::Known(gate) => gate,
        };
        let generation = Generation {
            uid: gate.uid().unwrap_or_default(),
            number: gate.metadata.generation.unwrap_or_default(),
            spec: gate.spec.clone(),
        };
        if self.asked.generation.as_ref() == Some(&generation) {
            return;
        }
        info!(node, "following generation {}", generation.number);
        self.changes.inc();
        self.asked = Asked::new(&gate.spec, Some(generation));
        for (leak, why) in &self.asked.unread {
            warn!(leak, "can't be put into force by this version: {why}");
        }
        self.put_in_force(store, netns).await;
        self.remember(store, netns, &gate.spec);
    }

    /// Saves the spec for the next start, which may come before the API server can be reached.
    pub(super) fn remember(&self, store: &Store, netns: &Netns, spec: &VrfGateNodeSpec) {
        if self.trouble.is_none()
            && *spec != VrfGateNodeSpec::default()
            && let Err(error) = saved_spec::save(store, netns, spec)
        {
            warn!("writing down what is in force, for the next start: {error}");
        }
    }

    /// Handles an event of the keeper.
    pub(super) async fn handle(&mut self, event: Event) {
        if let Some(keeper) = &mut self.keeper {
            keeper.handle(event).await;
        }
    }

    pub(super) async fn put_in_force(&mut self, store: &Store, netns: &Netns) {
        if self.asked.nothing() {
            self.restore(store, netns).await;
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

    /// Restores a node that no leak applies to as it was before vrfgate; a gate that has to stay opens nothing.
    async fn restore(&mut self, store: &Store, netns: &Netns) {
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
            // Without a keeper, shared ports are found only now.
            Err(error) if matches!(error.downcast_ref(), Some(Error::PortShared { .. })) => {
                self.keep_shut(store, netns, error.to_string()).await;
            }
            Err(error) => {
                let error = format!("restoring {netns}: {error:#}");
                if let Some(left) = &mut self.left {
                    left.errors = vec![error.clone()];
                }
                self.note_trouble(error);
            }
        }
    }

    pub(super) fn note_trouble(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            warn!("{trouble}; trying again every {RETRY_EVERY:?}");
        }
        self.trouble = Some(trouble);
    }

    pub(super) fn publish_health(&self) {
        let mut unready = Vec::new();
        if self.asked.generation.is_none() {
            unready.push("what this node shall hold is not known yet".to_owned());
        }
        unready.extend(self.trouble.clone());
        if let Some(keeper) = &self.keeper {
            let report = keeper.report();
            unready.extend(report.pending.iter().chain(&report.errors).cloned());
        }
        if let Some(uninstalled) = &self.uninstalled {
            unready.extend(uninstalled.borrow().iter().cloned());
        }
        self.ready.set(i64::from(unready.is_empty()));
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = unready;
    }

    pub(super) fn report(&self, reporter: &Reporter, pods: &Pods) {
        let Some(generation) = &self.asked.generation else {
            return;
        };
        let report = self.keeper.as_ref().map(Keeper::report);
        let report = report.or(self.left.as_ref());
        let outcomes = status::outcomes(
            &generation.spec,
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
        reporter.publish(&generation.uid, generation.number, outcomes);
    }

    pub(super) async fn leave(self) -> anyhow::Result<()> {
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

    pub(super) fn registry(&self, install: Option<&InstallKeeper>) -> Arc<Registry> {
        let mut all = Registry::with_prefix("vrfgate_agent");
        all.register(
            "ready",
            "1 while the gate holds what it should, and the CNI plugin is where it should be",
            self.ready.clone(),
        );
        all.register(
            "generations",
            "Generations of the VrfGateNode that were followed",
            self.changes.clone(),
        );
        if let Some(install) = install {
            install.register(&mut all);
        }
        Arc::new(all)
    }
}
