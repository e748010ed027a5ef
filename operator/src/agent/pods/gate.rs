//! Looks after the gate of one pod's namespace, in a task of its own: a namespace that is slow keeps no other
//! waiting.

use std::{io, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::sleep,
};
use tracing::{info, warn};
use vrfgate_ebpf::{Error, Fate, Netns, Store, is_shortage};

use super::{
    places::Place,
    wanted::{Settled, Wanted},
};
use crate::{
    agent::stirred,
    clear::clear,
    node::{Keeper, Report, Settings, Stir},
};
use vrfgate_core::VrfName;

/// How often the kernel is asked whether a pod's gate is still in force. It takes two detached links in
/// between to open a door, and a node may have hundreds of pods.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a gate is tried to be put in that could not be put in.
const RETRY_EVERY: Duration = Duration::from_secs(1);

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
    pub trouble: Option<Refusal>,
}

impl State {
    /// Why what was asked for is not in force.
    pub fn failure(&self) -> Option<Refusal> {
        let reports = self.report.iter();
        let reported = reports.flat_map(|report| report.waits.iter().chain(&report.errors));
        let trouble = self.trouble.iter().map(|trouble| &trouble.why);
        let failures: Vec<&str> = trouble.chain(reported).map(String::as_str).collect();
        (!failures.is_empty()).then(|| Refusal {
            why: failures.join("; "),
            later: self.trouble.as_ref().is_some_and(|trouble| trouble.later),
        })
    }
}

/// The end of an order.
pub type Done = oneshot::Sender<Result<(), Refusal>>;

/// Why an order could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    /// Whether something is only short, so that the same may succeed soon.
    pub later: bool,
}

/// What is to be in force; nothing, and no gate, without a word on it.
struct Order(Option<Wanted>, Option<Done>);

/// A pod's gate, from outside.
pub struct PodGate {
    /// There are as few as there are changes and calls of the plugin; of those that wait, the last one counts.
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Receiver<State>,
}

impl PodGate {
    /// Begins to look after a namespace. `changed` is told whenever there is something new to say, and when it is over
    /// and `place` is free.
    pub fn start(
        store: &Store,
        netns: Netns,
        settings: Settings,
        place: Place,
        changed: Arc<Notify>,
    ) -> Self {
        let (orders, taken) = mpsc::unbounded_channel();
        let (tell, state) = watch::channel(State::default());
        let task = Task {
            store: store.clone(),
            netns,
            settings,
            keeper: None,
            vrfs: Vec::new(),
            asked: None,
            waiting: Vec::new(),
            state: State::default(),
            tell,
            changed: Arc::clone(&changed),
        };
        tokio::spawn(async move {
            Box::pin(task.run(taken)).await;
            drop(place);
            changed.notify_one();
        });
        Self { orders, state }
    }

    /// Has something else put into force. Gives back who waits for the end of it when this one is over.
    pub fn put(&self, wanted: Wanted, done: Option<Done>) -> Result<(), Option<Done>> {
        self.order(Order(Some(wanted), done))
    }

    /// Has everything taken away, for as long as nothing else is put: that is the end of it.
    pub fn take_away(&self, done: Option<Done>) -> Result<(), Option<Done>> {
        self.order(Order(None, done))
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether the namespace is gone, or given back.
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
    /// Those that what is in force was made for.
    vrfs: Vec<VrfName>,
    /// The last order, which is tried again while it can't be carried out.
    asked: Option<Wanted>,
    /// Who waits for the end of it.
    waiting: Vec<Done>,
    state: State,
    tell: watch::Sender<State>,
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
                    self.carry_out().await;
                }
            }
            self.publish();
            let end = self.state.failure().map_or(Ok(()), Err);
            for done in mem::take(&mut self.waiting) {
                // Who asked may have lost patience.
                let _ = done.send(end.clone());
            }
            let is_given_back = self.asked.is_none() && self.state.trouble.is_none();
            if is_given_back && orders.is_empty() {
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
            self.take_away().await;
        }
    }

    async fn put_in_force(&mut self) {
        if self.keeper.is_none() {
            // What is for every VRF must not be missing, were it for a moment, from a gate that is taken over.
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
                LOOK_EVERY,
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

    fn settle(&mut self) -> Vec<vrfgate_core::Leak> {
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
