//! Keeps the gate of one pod's namespace, in a task of its own, so that a slow namespace delays no other.

use std::{io, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::sleep,
};
use tracing::{info, warn};
use vrfgate_core::VrfName;
use vrfgate_ebpf::{Error, Fate, Netns, Store};
use vrfgate_machine::is_shortage;

use super::{
    places::Place,
    wanted::{Settled, Wanted},
};
use crate::{
    agent::next_event,
    clear::clear,
    node::{Event, Keeper, Report, Settings},
};

/// How often to ask the kernel whether a pod's gate is still in force. Only two links that are detached meanwhile open
/// the namespace, and a node may have hundreds of pods.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// How often to try again to attach a gate.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The state that the last order led to.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What was asked for.
    pub wanted: Wanted,
    /// Names of what can't be in force beside the rest, and why.
    pub left_out: Vec<(String, String)>,
    /// Report of the gate's keeper; `None` while there is none.
    pub report: Option<Report>,
    /// Why there is no keeper, or why the gate could not be removed.
    pub trouble: Option<Refusal>,
}

impl State {
    /// Why what was asked for is not in force.
    pub fn failure(&self) -> Option<Refusal> {
        let reports = self.report.iter();
        let reported = reports.flat_map(|report| report.pending.iter().chain(&report.errors));
        let trouble = self.trouble.iter().map(|trouble| &trouble.why);
        let failures: Vec<&str> = trouble.chain(reported).map(String::as_str).collect();
        (!failures.is_empty()).then(|| Refusal {
            why: failures.join("; "),
            later: self.trouble.as_ref().is_some_and(|trouble| trouble.later),
        })
    }
}

/// Completes an order.
pub type Done = oneshot::Sender<Result<(), Refusal>>;

/// Why an order could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    /// Whether the cause is a shortage, so that the same order may succeed soon.
    pub later: bool,
}

/// What to put into force, or `None` for no gate at all; and who waits for it.
struct Order(Option<Wanted>, Option<Done>);

/// Handle of the task that keeps a pod's gate.
pub struct PodGate {
    /// Not bounded: there are as few as changes and calls of the plugin. Of several that are pending, the last one counts.
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Receiver<State>,
}

impl PodGate {
    /// Starts to keep the gate of a namespace. `changed` is notified of each new state, and when the task is over and
    /// `place` is free.
    pub fn start(
        store: &Store,
        netns: Netns,
        settings: Settings,
        place: Place,
        changed: Arc<Notify>,
    ) -> Self {
        let (orders, taken) = mpsc::unbounded_channel();
        let (sender, state) = watch::channel(State::default());
        let task = Task {
            store: store.clone(),
            netns,
            settings,
            keeper: None,
            vrfs: Vec::new(),
            asked: None,
            waiting: Vec::new(),
            state: State::default(),
            sender,
            changed: Arc::clone(&changed),
        };
        tokio::spawn(async move {
            Box::pin(task.run(taken)).await;
            drop(place);
            changed.notify_one();
        });
        Self { orders, state }
    }

    /// Orders `wanted` to be put into force.
    ///
    /// # Errors
    ///
    /// Returns `done` when the task is over.
    pub fn put(&self, wanted: Wanted, done: Option<Done>) -> Result<(), Option<Done>> {
        self.order(Order(Some(wanted), done))
    }

    /// Orders the gate to be removed, after which the task is over unless another order has come.
    ///
    /// # Errors
    ///
    /// Returns `done` when the task is over.
    pub fn remove(&self, done: Option<Done>) -> Result<(), Option<Done>> {
        self.order(Order(None, done))
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether the task is over: the namespace is gone, or restored.
    pub fn is_over(&self) -> bool {
        self.orders.is_closed()
    }

    fn order(&self, order: Order) -> Result<(), Option<Done>> {
        self.orders.send(order).map_err(|refused| refused.0.1)
    }
}

struct Task {
    store: Store,
    netns: Netns,
    settings: Settings,
    keeper: Option<Keeper>,
    /// The VRFs that the rules in force were made for.
    vrfs: Vec<VrfName>,
    /// The last order, which is retried until it succeeds.
    asked: Option<Wanted>,
    /// Plugins that wait for it.
    waiting: Vec<Done>,
    state: State,
    sender: watch::Sender<State>,
    changed: Arc<Notify>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => {
                    // None: the agent leaves; the gate stays in force.
                    let Some(order) = order else { return };
                    self.note(order);
                    while let Ok(order) = orders.try_recv() {
                        self.note(order);
                    }
                    self.carry_out().await;
                }
                event = next_event(self.keeper.as_mut()) => {
                    if event == Event::Gone {
                        Box::pin(self.leave()).await;
                        return;
                    }
                    if let Some(keeper) = &mut self.keeper {
                        keeper.handle(event).await;
                    }
                    self.follow_vrfs().await;
                }
                () = sleep(RETRY_EVERY), if self.state.trouble.is_some() => {
                    if !self.netns.is_named() {
                        return;
                    }
                    self.carry_out().await;
                }
            }
            self.publish();
            let end = self.state.failure().map_or(Ok(()), Err);
            for done in mem::take(&mut self.waiting) {
                // The plugin may have stopped waiting.
                let _ = done.send(end.clone());
            }
            let is_restored = self.asked.is_none() && self.state.trouble.is_none();
            if is_restored && orders.is_empty() {
                return;
            }
        }
    }

    fn note(&mut self, Order(asked, done): Order) {
        self.asked = asked;
        self.waiting.extend(done);
    }

    async fn carry_out(&mut self) {
        if let Some(wanted) = &self.asked {
            self.state.wanted = wanted.clone();
            self.put_in_force().await;
        } else {
            self.remove().await;
        }
    }

    async fn put_in_force(&mut self) {
        if self.keeper.is_none() {
            // A gate that is taken over must not lack, even for a moment, a rule that is for every VRF.
            self.vrfs = match vrfs_of(&self.netns) {
                Ok(vrfs) => vrfs,
                Err(error) => {
                    let why = format!("asking for the links of {}: {error}", self.netns);
                    self.note_trouble(why, is_shortage(&error));
                    return;
                }
            };
        }
        let leaks = self.settle();
        if let Some(keeper) = &mut self.keeper {
            keeper.put_in_force(leaks).await;
        } else {
            let started = Keeper::start_slow(
                &self.store,
                self.netns.clone(),
                leaks,
                self.settings,
                POLL_EVERY,
            );
            match started.await {
                Ok(keeper) => {
                    info!("looking after the gate of {}", self.netns);
                    self.keeper = Some(keeper);
                    self.state.trouble = None;
                }
                Err(error) => self.note_trouble(error.to_string(), error.is_shortage()),
            }
        }
        self.follow_vrfs().await;
    }

    /// Applies rules that are for every VRF to VRFs that were added meanwhile.
    async fn follow_vrfs(&mut self) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        let vrfs = keeper.vrfs();
        if vrfs == self.vrfs {
            return;
        }
        self.vrfs = vrfs;
        let leaks = self.settle();
        if let Some(keeper) = &mut self.keeper {
            keeper.put_in_force(leaks).await;
        }
    }

    fn settle(&mut self) -> Vec<vrfgate_core::Leak> {
        let Settled { leaks, left_out } = self.state.wanted.settle(&self.vrfs);
        self.state.left_out = left_out;
        leaks
    }

    async fn remove(&mut self) {
        self.keeper = None;
        match clear(&self.store, &self.netns, self.settings.shared_ports).await {
            Ok(_) => {
                info!("{}: nothing is asked for, and the gate is gone", self.netns);
                self.state = State::default();
            }
            Err(error) => {
                let short = error.downcast_ref().is_some_and(Error::is_shortage);
                self.note_trouble(format!("{error:#}"), short);
            }
        }
    }

    async fn leave(mut self) {
        let Some(keeper) = self.keeper.take() else {
            return;
        };
        match keeper.leave().await {
            Ok(Fate::Gone) => info!("{} is gone, and so is its gate", self.netns),
            Ok(Fate::Alive | Fate::Ending) => {
                warn!(
                    "the name of {} is gone; its gate stays in force",
                    self.netns
                );
            }
            Err(error) => warn!("leaving {}: {error}", self.netns),
        }
        self.changed.notify_one();
    }

    fn note_trouble(&mut self, why: String, later: bool) {
        let trouble = Some(Refusal { why, later });
        if let Some(Refusal { why, .. }) =
            trouble.as_ref().filter(|_| self.state.trouble != trouble)
        {
            warn!("{}: {why}; trying again every {RETRY_EVERY:?}", self.netns);
        }
        self.state.trouble = trouble;
    }

    fn publish(&mut self) {
        self.state.report = self.keeper.as_ref().map(|keeper| keeper.report().clone());
        self.sender.send_replace(self.state.clone());
        self.changed.notify_one();
    }
}

/// As [`Keeper::vrfs`], where there is no keeper yet.
fn vrfs_of(netns: &Netns) -> io::Result<Vec<VrfName>> {
    Ok(vrfgate_cni::vrfs_of(&vrfgate_cni::facts_of(netns)?))
}
