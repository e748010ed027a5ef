//! Looks after the gate of one pod's namespace, in a task of its own: a namespace that is slow keeps no other
//! waiting.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::sleep,
};
use tracing::{info, warn};
use vrfgate_ebpf::{Fate, Netns, Store};

use super::wanted::{Settled, Wanted};
use crate::{
    agent::stirred,
    clear::clear,
    compile::VrfName,
    node::{Keeper, Report, Settings, Stir},
};

/// How often the kernel is asked whether a pod's gate is still in force. It takes two detached links in
/// between to open a door, and a node may have hundreds of pods.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a gate is tried to be put in that could not be put in.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Orders that wait for a task.
const QUEUE: usize = 16;

/// What has become of the last order.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What was asked for.
    pub wanted: Wanted,
    /// Names of what can't be in force beside the rest, and why.
    pub left_out: Vec<(String, String)>,
    /// What the gate's keeper says; `None` while there is none.
    pub report: Option<Report>,
    /// Why there is none, or why the gate could not be taken away.
    pub trouble: Option<String>,
}

impl State {
    /// Why what was asked for is not in force.
    pub fn failure(&self) -> Option<String> {
        let reports = self.report.iter();
        let reported = reports.flat_map(|report| report.waits.iter().chain(&report.errors));
        let failures: Vec<String> = self.trouble.iter().chain(reported).cloned().collect();
        (!failures.is_empty()).then(|| failures.join("; "))
    }
}

/// The end of an order.
pub type Done = oneshot::Sender<Result<(), String>>;

enum Order {
    Put(Wanted, Option<Done>),
    TakeAway(Option<Done>),
}

/// A pod's gate, from outside.
pub struct PodGate {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
}

impl PodGate {
    /// Begins to look after a namespace. `changed` is told whenever there is something new to say.
    pub fn start(store: &Store, netns: Netns, settings: Settings, changed: Arc<Notify>) -> Self {
        let (orders, taken) = mpsc::channel(QUEUE);
        let (tell, state) = watch::channel(State::default());
        let task = Task {
            store: store.clone(),
            netns,
            settings,
            keeper: None,
            vrfs: Vec::new(),
            state: State::default(),
            tell,
            changed,
        };
        tokio::spawn(task.run(taken));
        Self { orders, state }
    }

    /// Has something else put into force. False when too much waits already: to be said again.
    pub fn put(&self, wanted: Wanted, done: Option<Done>) -> bool {
        self.order(Order::Put(wanted, done))
    }

    /// Has everything taken away; that is the end of it.
    pub fn take_away(self, done: Option<Done>) {
        self.order(Order::TakeAway(done));
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether the namespace is gone, or given back.
    pub fn is_over(&self) -> bool {
        self.orders.is_closed()
    }

    /// Whether the order is queued. One that isn't is dropped, and who waits for its end is told so.
    fn order(&self, order: Order) -> bool {
        self.orders
            .try_send(order)
            .inspect_err(|error| warn!("a pod's gate takes no more orders: {error}"))
            .is_ok()
    }
}

struct Task {
    store: Store,
    netns: Netns,
    settings: Settings,
    keeper: Option<Keeper>,
    /// Those that what is in force was made for.
    vrfs: Vec<VrfName>,
    state: State,
    tell: watch::Sender<State>,
    changed: Arc<Notify>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Put(wanted, done)) => {
                        self.state.wanted = wanted;
                        self.put_in_force().await;
                        self.publish();
                        answer(done, self.state.failure());
                    }
                    Some(Order::TakeAway(done)) => {
                        self.take_away().await;
                        self.publish();
                        answer(done, self.state.failure());
                        return;
                    }
                    // The agent leaves; the gate stays in force.
                    None => return,
                },
                stir = stirred(self.keeper.as_mut()) => {
                    if stir == Stir::Gone {
                        Box::pin(self.leave()).await;
                        return;
                    }
                    if let Some(keeper) = &mut self.keeper {
                        keeper.attend(stir).await;
                    }
                    self.follow_vrfs().await;
                }
                () = sleep(RETRY_EVERY), if self.state.trouble.is_some() => {
                    if !self.netns.is_named() {
                        return;
                    }
                    self.put_in_force().await;
                }
            }
            self.publish();
        }
    }

    async fn put_in_force(&mut self) {
        if self.keeper.is_none() {
            // What is for every VRF must not be missing, were it for a moment, from a gate that is taken over.
            self.vrfs = match vrfs_of(&self.netns) {
                Ok(vrfs) => vrfs,
                Err(error) => {
                    self.note_trouble(format!("asking for the links of {}: {error}", self.netns));
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
                LOOK_EVERY,
            );
            match started.await {
                Ok(keeper) => {
                    info!("looking after the gate of {}", self.netns);
                    self.keeper = Some(keeper);
                    self.state.trouble = None;
                }
                Err(error) => self.note_trouble(error.to_string()),
            }
        }
        self.follow_vrfs().await;
    }

    /// What is for every VRF is for those that came since, too.
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

    fn settle(&mut self) -> Vec<crate::compile::Leak> {
        let Settled { leaks, left_out } = self.state.wanted.settle(&self.vrfs);
        self.state.left_out = left_out;
        leaks
    }

    async fn take_away(&mut self) {
        self.keeper = None;
        match clear(&self.store, &self.netns, self.settings.shared_ports).await {
            Ok(_) => {
                info!("{}: nothing is asked for, and the gate is gone", self.netns);
                self.state = State::default();
            }
            Err(error) => self.note_trouble(format!("{error:#}")),
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

    fn note_trouble(&mut self, trouble: String) {
        if self.state.trouble.as_ref() != Some(&trouble) {
            warn!(
                "{}: {trouble}; trying again every {RETRY_EVERY:?}",
                self.netns
            );
        }
        self.state.trouble = Some(trouble);
    }

    fn publish(&mut self) {
        self.state.report = self.keeper.as_ref().map(|keeper| keeper.report().clone());
        self.tell.send_replace(self.state.clone());
        self.changed.notify_one();
    }
}

/// As [`Keeper::vrfs`], where there is no keeper yet.
fn vrfs_of(netns: &Netns) -> io::Result<Vec<VrfName>> {
    let facts = vrfgate_cni::Facts::of(netns)?;
    let mut names: Vec<VrfName> = facts
        .vrfs()
        .filter_map(|link| link.name.parse().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn answer(done: Option<Done>, failure: Option<String>) {
    if let Some(done) = done {
        // Who asked may have lost patience.
        let _ = done.send(failure.map_or(Ok(()), Err));
    }
}
