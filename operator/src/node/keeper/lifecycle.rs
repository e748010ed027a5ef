//! How a keeper begins and ends: it takes the gate over from a process that offers it, and leaves a namespace whose name is
//! gone.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use vrfgate_core::{Leak, NodeFacts};
use vrfgate_ebpf::{Error, Fate, Netns, Store, collect_orphan};

use super::{
    super::{Engine, Watcher, closings::Closings, hand_over::TakeOver},
    KeepError, Keeper, POLL_EVERY, RECONCILE_EVERY, Settings,
    gate::KeptGate,
    journal::Journal,
    routes::KeptRoutes,
    steering::KeptSteering,
};

/// How long the kernel may take to end a namespace that nobody is in any more.
const ENDING: Duration = Duration::from_secs(30);

impl Keeper {
    /// Puts leaks into force. Fails, and changes nothing, when they can't be. While it is only that TCP ports are shared,
    /// it waits for them, and reports so. Must be called within a Tokio runtime.
    pub async fn start(
        store: &Store,
        netns: Netns,
        leaks: Vec<Leak>,
        settings: Settings,
    ) -> Result<Self, KeepError> {
        Self::start_slow(store, netns, leaks, settings, POLL_EVERY).await
    }

    /// As [`Keeper::start`], with another interval between two checks of the gate.
    pub async fn start_slow(
        store: &Store,
        netns: Netns,
        leaks: Vec<Leak>,
        settings: Settings,
        poll_every: Duration,
    ) -> Result<Self, KeepError> {
        let Settings {
            steer_mask,
            shared_ports,
        } = settings;
        let now = Instant::now();
        let mut poll = interval_at(now + poll_every, poll_every);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watcher = Watcher::new(&netns)?;
        let closings = Closings::of(store, &netns);
        let journal = Journal::resume(store, &netns);
        let routes = KeptRoutes::start(&watcher).await?;
        let engine = Engine::new(store.clone(), netns).on_shared_ports(shared_ports);
        let mut keeper = Self {
            watcher,
            leaks,
            facts: NodeFacts::default(),
            gate: KeptGate::new(engine),
            routes,
            steering: KeptSteering::new(steer_mask),
            closings,
            journal,
            poll,
            reconcile_at: now + RECONCILE_EVERY,
            retry_at: now,
            unsure: false,
        };
        keeper.take_over().await?;
        keeper.gate.report(&keeper.facts, &mut keeper.journal);
        Ok(keeper)
    }

    /// The first reconciliation. Another process that offers the gate is asked for it.
    async fn take_over(&mut self) -> Result<(), KeepError> {
        let (store, netns) = (self.journal.store().clone(), self.netns().clone());
        let mut take_over = TakeOver::begin();
        loop {
            let result = self.reconcile_or_wait().await;
            let busy = matches!(result, Err(KeepError::Gate(Error::Busy { .. })));
            if !busy || !take_over.again(&store, &netns).await {
                return result;
            }
        }
    }

    /// Leaves a namespace whose name is gone. That ends it, unless something else is in it; then what is left of its
    /// gate is removed. The gate of a namespace that lives on stays in force.
    pub async fn leave(self) -> Result<Fate, Error> {
        let (store, id) = (self.journal.store().clone(), self.netns().id());
        // Its gate and sockets would keep the namespace alive.
        drop(self);
        let end = Instant::now() + ENDING;
        loop {
            let fate = collect_orphan(&store, id)?;
            if fate != Fate::Ending || Instant::now() >= end {
                return Ok(fate);
            }
            sleep(POLL_EVERY).await;
        }
    }

    /// Has the gate stay until it is removed by name.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.gate.prepare()
    }

    /// Whether somebody has prepared the gate, so that it stays while nothing is asked for.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.gate.is_prepared()
    }

    /// Whether the namespace can be restored; [`Error::PortShared`] when not. Changes nothing.
    pub fn may_restore(&self) -> Result<(), Error> {
        self.gate.may_restore()
    }
}
