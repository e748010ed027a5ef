//! Looks after one namespace: what changes around the gate is followed, what something else did to it is put
//! right, and both are told. Owns engine, watcher and report; must not know where leaks come from.
//!
//! Whoever drives it (`vrfgate run`, an agent) waits for [`Keeper::stirred`] beside its own events, and hands
//! what came of it to [`Keeper::attend`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tracing::{info, warn};
use vrfgate_ebpf::{
    Error, Fate, Mended, Netns, OtherProgram, SharedPort, SharedPorts, Store, collect_orphan,
    is_shortage, kernel_is_concerned,
};

use super::{
    Change, Engine, FactsError, LeakReport, Outcome, Refused, Report, RouteOutcome, Watcher,
    clashes::warn_of_clashes,
    closings::Closings,
    report::route_text,
    shared::came_later,
    words::{local_rule_moved, mended, overridden, tell_news, unlisted},
};
use vrfgate_core::{
    Desired, Leak, Link, LinkKind, MarkMask, NodeFacts, SteeredVrf, VrfName, WantedRoute,
};

mod waiting;

/// How often the kernel is asked whether the gate is still in force. A gate that somebody detaches leaves
/// the door open for no longer than this; asking takes some twenty system calls.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a gate is tried to be put in that could not be put in.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How often reply steering is compared with what it should be: `nf_tables` and policy rules tell nobody of their
/// changes on the sockets that we listen to, and reading them takes longer than the rest.
const LOOK_AT_STEERING_EVERY: Duration = Duration::from_secs(1);

/// How often listeners that were open once are looked for again, while there are any.
const LOOK_AT_CLOSINGS_EVERY: Duration = Duration::from_secs(30);

/// How often links, addresses, routes and policy rules are looked at though nobody has told of a change. Not what the
/// gate's maps hold: that is remembered.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_mins(1);

/// How long the kernel may take to end a namespace that nobody is in any more.
const ENDING: Duration = Duration::from_secs(30);

/// How a gate is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which bits of packets' marks reply steering may use.
    pub steer_mask: MarkMask,
    /// What to do while TCP ports are shared that may make the kernel crash.
    pub shared_ports: SharedPorts,
}

/// Why leaks are not in force. What was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The gate.
    #[error(transparent)]
    Gate(#[from] Error),
    /// Netlink.
    #[error(transparent)]
    Facts(#[from] FactsError),
}

impl KeepError {
    /// As [`Error::is_shortage`].
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Gate(error) => error.is_shortage(),
            Self::Facts(FactsError::Socket { cause, .. }) => is_shortage(cause),
            Self::Facts(FactsError::Dump { .. }) => false,
        }
    }
}

/// Something for [`Keeper::attend`] to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is done about it before `Keeper::attend`"]
pub enum Stir {
    /// Links, addresses, routes or rules of the namespace have changed.
    Changed(Change),
    /// The netlink connection is lost, and what changed since is not known.
    Lost,
    /// It is time to see whether gate and sysctls are as they should be.
    Due,
    /// The name of the namespace is gone: time for [`Keeper::leave`].
    Gone,
}

/// Keeps the gate of one namespace in line with leaks, and right.
pub struct Keeper {
    store: Store,
    engine: Engine,
    watcher: Watcher,
    leaks: Vec<Leak>,
    /// As they were when everything was last looked at.
    facts: NodeFacts,
    /// Routes that were there by then.
    routes: Vec<WantedRoute>,
    /// Preferences of the rules of the local table, of IPv4 and IPv6.
    local_rules: [Option<u32>; 2],
    steer_mask: MarkMask,
    /// VRFs whose UDP answers are steered.
    steered: Vec<SteeredVrf>,
    look_at_steering: Instant,
    look_at_all: Instant,
    closings: Closings,
    look_at_closings: Instant,
    others: Vec<OtherProgram>,
    /// Mistakes in what was asked for last. They stand until something else is asked for.
    mistakes: Vec<String>,
    /// Why gate, pins or sysctls could not be put right.
    trouble: Option<String>,
    /// Whether the kernel could not be asked at the last look at everything.
    unsure: bool,
    /// Ports that are shared while the gate waits for them, and what was said of it.
    waits: Option<(Vec<SharedPort>, String)>,
    /// Ports that have come to be shared since, and what was said of it.
    later: (Vec<SharedPort>, Vec<String>),
    /// Last report written, so that only changes are written and logged.
    report: Report,
    saved: bool,
    due: Interval,
    retry_at: Instant,
}

impl Keeper {
    /// Puts leaks into force. Fails, and changes nothing, when they can't be. While it is only that TCP ports are shared,
    /// it waits for them, and says so in the report. Must be called within a Tokio runtime.
    pub async fn start(
        store: &Store,
        netns: Netns,
        leaks: Vec<Leak>,
        settings: Settings,
    ) -> Result<Self, KeepError> {
        Self::start_slow(store, netns, leaks, settings, LOOK_EVERY).await
    }

    /// As [`Keeper::start`], to look whether the gate is still in force less often.
    pub async fn start_slow(
        store: &Store,
        netns: Netns,
        leaks: Vec<Leak>,
        settings: Settings,
        look_every: Duration,
    ) -> Result<Self, KeepError> {
        let Settings {
            steer_mask,
            shared_ports,
        } = settings;
        let now = Instant::now();
        let mut due = interval_at(now + look_every, look_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watcher = Watcher::new(&netns)?;
        let closings = Closings::of(store, &netns);
        // Of an earlier one, only what nobody else remembers. It may be of a version that wrote other things.
        let before = Report::load(store, &netns).ok().flatten();
        let mut keeper = Self {
            store: store.clone(),
            local_rules: watcher.local_rule_preferences().await?,
            watcher,
            engine: Engine::new(store.clone(), netns).on_shared_ports(shared_ports),
            leaks,
            facts: NodeFacts::default(),
            routes: Vec::new(),
            steer_mask,
            steered: Vec::new(),
            look_at_steering: now,
            look_at_all: now + LOOK_AT_ALL_EVERY,
            closings,
            look_at_closings: now,
            others: Vec::new(),
            mistakes: Vec::new(),
            trouble: None,
            unsure: false,
            waits: None,
            later: (Vec::new(), Vec::new()),
            report: Report {
                repairs: before.unwrap_or_default().repairs,
                ..Report::default()
            },
            saved: false,
            due,
            retry_at: now,
        };
        keeper.reconcile_first().await?;
        keeper.look_beside();
        Ok(keeper)
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        self.engine.netns()
    }

    /// The VRFs of the namespace, as of the last look.
    #[must_use]
    pub fn vrfs(&self) -> Vec<VrfName> {
        let links = self.facts.links.iter();
        let vrfs = links.filter(|link| matches!(link.kind, LinkKind::Vrf { .. }));
        let mut names: Vec<VrfName> = vrfs.filter_map(|link| link.name.parse().ok()).collect();
        names.sort();
        names
    }

    /// What is in force, as of the last look.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until there is something to look at. Nothing is lost when the wait is given up.
    pub async fn stirred(&mut self) -> Stir {
        tokio::select! {
            // A new VRF is open until the gate knows it: first come changes.
            biased;
            change = self.watcher.changed() => change.map_or(Stir::Lost, Stir::Changed),
            _ = self.due.tick() => if self.netns().is_named() { Stir::Due } else { Stir::Gone },
        }
    }

    /// Follows what changed, puts right what has to be. What can't be is told in log and report.
    pub async fn attend(&mut self, stir: Stir) {
        match stir {
            Stir::Changed(Change { links, rules, .. }) => {
                self.gate_at_once(links);
                if rules {
                    self.look_at_local_rules().await;
                }
                self.reconcile_or_report().await;
            }
            Stir::Lost => match Watcher::new(self.netns()) {
                Ok(watcher) => {
                    warn!(
                        "the netlink connection into {} was lost; made a new one",
                        self.netns()
                    );
                    self.watcher = watcher;
                    self.look_at_local_rules().await;
                    self.reconcile_or_report().await;
                }
                Err(error) => {
                    self.report_failure(error.to_string());
                    // Nothing else is heard of meanwhile: a gate that is gone would leave the door open.
                    self.mend();
                    // Whatever is in the way, asking again at once won't help.
                    sleep(RETRY_EVERY).await;
                }
            },
            Stir::Due => self.keep().await,
            Stir::Gone => {}
        }
    }

    /// Puts other leaks into force in the place of those that were.
    pub async fn put_in_force(&mut self, leaks: Vec<Leak>) {
        self.leaks = leaks;
        self.mistakes.clear();
        self.reconcile_or_report().await;
    }

    /// Tells in log and report why what was asked for last is not in force. What was in force stays.
    pub fn report_errors(&mut self, errors: Vec<String>) {
        self.mistakes.clone_from(&errors);
        self.write_report(|report| report.errors = errors);
    }

    fn report_failure(&mut self, error: String) {
        let errors = [self.mistakes.as_slice(), &[error]].concat();
        self.write_report(|report| report.errors = errors);
    }

    /// Lets go of a namespace whose name is gone. It ends by that, unless somebody else is in it; then what is
    /// left of its gate is removed. A gate of a namespace that lives on stays in force.
    pub async fn leave(self) -> Result<Fate, Error> {
        let Self {
            store,
            engine,
            watcher,
            ..
        } = self;
        let id = engine.netns().id();
        drop(engine);
        // Its sockets would keep the namespace alive.
        drop(watcher);
        let end = Instant::now() + ENDING;
        loop {
            let fate = collect_orphan(&store, id)?;
            if fate != Fate::Ending || Instant::now() >= end {
                return Ok(fate);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Puts right what something else has done, and sees to it that there is a gate.
    async fn keep(&mut self) {
        self.mend();
        if !self.steered.is_empty() && Instant::now() >= self.look_at_steering {
            self.keep_steering().await;
        }
        if self.closings.any() && Instant::now() >= self.look_at_closings {
            let mut leaks = self.report.leaks.clone();
            self.tell_closings(&mut leaks).await;
            self.write_report(|report| report.leaks = leaks);
        }
        // Also when it could not be put in at the last try.
        let again = self.unsure || !self.engine.has_gate() || self.waits.is_some();
        let due = Instant::now() >= self.look_at_all;
        if due || (again && Instant::now() >= self.retry_at) {
            self.retry_at = Instant::now() + RETRY_EVERY;
            self.reconcile_or_report().await;
        }
        self.look_beside();
    }

    /// Puts right what something else has done to gate, pins or sysctls.
    fn mend(&mut self) {
        match self.engine.keep() {
            Ok(found) => {
                if found.contains(&Mended::Record) {
                    // The report was beside it.
                    self.saved = false;
                }
                self.trouble = None;
                for repair in found.into_iter().flat_map(mended) {
                    self.repaired(repair);
                }
            }
            Err(Error::PortShared { shared, .. }) => {
                if self
                    .waits
                    .as_ref()
                    .is_none_or(|(known, _)| *known != shared)
                {
                    self.wait_for_ports(&shared);
                }
            }
            Err(error) => {
                let trouble = Some(error.to_string());
                if trouble != self.trouble {
                    warn!("{error}");
                    if matches!(error, Error::NotInForce { .. }) && kernel_is_concerned() {
                        // An open door is worse than what may come of closing it.
                        warn_of_clashes(self.netns(), &self.facts);
                    }
                }
                self.trouble = trouble;
            }
        }
    }

    /// Says in the reports of leaks which listeners were open until they came.
    async fn tell_closings(&mut self, leaks: &mut [LeakReport]) {
        self.look_at_closings = Instant::now() + LOOK_AT_CLOSINGS_EVERY;
        let former = self.engine.former().unwrap_or_default();
        let netns = self.engine.netns().clone();
        let looked = self
            .closings
            .look(&self.watcher, &netns, &self.facts, former)
            .await;
        if let Err(error) = looked {
            warn!("looking for listeners that leaks close: {error}");
        }
        self.closings.tell(leaks);
    }

    async fn keep_steering(&mut self) {
        self.look_at_steering = Instant::now() + LOOK_AT_STEERING_EVERY;
        let kept = self
            .watcher
            .reconcile_steering(&self.steered, self.steer_mask)
            .await;
        match kept {
            Ok(outcome) => {
                if outcome.changed {
                    self.repaired("reply steering had been changed; put it right".into());
                }
                self.write_report(|report| report.set_steering(&outcome));
            }
            Err(error) => warn!("{error}"),
        }
    }

    /// Lets the gate know of new VRFs and slaves before everything else is looked at, so that they are open for as
    /// short as can be. What the last look at everything knows is enough for that; the next follows at once.
    fn gate_at_once(&mut self, links: Vec<Link>) {
        let mut concerned = false;
        for link in links {
            concerned |= self.facts.update_link(link);
        }
        if !concerned {
            return;
        }
        // Whatever is set again on the way would go untold.
        self.mend();
        if let Err(error) = self.put_into_gate() {
            // The look at everything reports what is still wrong then.
            warn!("gating a new VRF or slave of {}: {error}", self.netns());
        }
    }

    async fn look_at_local_rules(&mut self) {
        let now = match self.watcher.local_rule_preferences().await {
            Ok(now) => now,
            Err(error) => {
                warn!("{error}");
                return;
            }
        };
        let before = std::mem::replace(&mut self.local_rules, now);
        for (family, (before, now)) in ["IPv4", "IPv6"]
            .into_iter()
            .zip(before.into_iter().zip(now))
        {
            if before != now {
                self.repaired(local_rule_moved(family, before, now));
            }
        }
    }

    /// Looks for programs that override the gate, and tells whatever a person should look into.
    fn look_beside(&mut self) {
        match self.engine.other_programs() {
            Ok(others) => self.others = others,
            Err(error) => warn!("{error}"),
        }
        let warnings = overridden(&self.others);
        let shared = self.engine.later_shared_ports();
        if self.later.0 != shared {
            self.later = (shared.to_vec(), came_later(shared, &self.facts));
        }
        let warnings: Vec<String> = warnings
            .into_iter()
            .chain(self.engine.unlisted().iter().copied().map(unlisted))
            .chain(self.trouble.clone())
            .chain(self.later.1.iter().cloned())
            .collect();
        self.write_report(|report| report.warnings = warnings);
    }

    async fn reconcile_or_report(&mut self) {
        self.look_at_all = Instant::now() + LOOK_AT_ALL_EVERY;
        let reconciled = self.reconcile_or_wait().await;
        self.unsure = match &reconciled {
            Ok(()) => false,
            Err(KeepError::Facts(_)) => true,
            Err(KeepError::Gate(error)) => error.is_shortage(),
        };
        if let Err(error) = reconciled {
            self.report_failure(error.to_string());
        }
    }

    async fn reconcile(&mut self) -> Result<(), KeepError> {
        self.facts = self.watcher.facts().await?;
        if self.engine.has_gate() {
            // Whatever is set again on the way to what is asked for would go untold. Nothing may be waited for in
            // between: that is time in which something else can change it.
            self.mend();
        }
        let (desired, refused) = self.put_into_gate()?;
        // The gate is in force before packets find their way to it.
        let routes = self.watcher.reconcile_routes(&desired.routes, &self.facts);
        let outcome = routes.await?;
        if outcome.made.len() + outcome.removed > 0 {
            info!(
                "leak routes of {}: {} made, {} removed",
                self.netns(),
                outcome.made.len(),
                outcome.removed
            );
        }
        let steering = self
            .watcher
            .reconcile_steering(&desired.steered, self.steer_mask)
            .await?;
        if steering.changed {
            info!(
                "reply steering of {}: {} VRFs",
                self.netns(),
                steering.steering.vrfs.len()
            );
        }
        self.steered.clone_from(&desired.steered);
        let mistakes = self.mistakes.clone();
        let mut report = Report::new(&self.leaks, &refused, &desired, &outcome, &self.facts);
        self.waits = None;
        self.tell_closings(&mut report.leaks).await;
        self.remember_routes(desired.routes, &outcome);
        self.write_report(|last| {
            last.leaks = report.leaks;
            last.waits = None;
            last.routes = report.routes;
            last.set_steering(&steering);
            last.errors = mistakes;
        });
        Ok(())
    }

    fn put_into_gate(&mut self) -> Result<(Desired, Vec<Refused>), Error> {
        let Outcome {
            desired,
            refused,
            attached,
            lost,
            renewed,
            changes,
        } = self.engine.reconcile(&self.leaks, &self.facts)?;
        if attached {
            info!("the gate of {} is in force", self.netns());
            warn_of_clashes(self.netns(), &self.facts);
            if let Some(why) = lost {
                self.repaired(format!(
                    "the gate was not in force: {why}; the sysctls were set to 0, and a new gate put in"
                ));
            }
        } else if renewed {
            info!(
                "the gate of {} was another version's and runs this one's program now; rules and counters \
                 stayed",
                self.netns()
            );
        } else if changes.written + changes.removed > 0 {
            info!(
                "the gate of {} follows: {} entries written, {} removed",
                self.netns(),
                changes.written,
                changes.removed
            );
        }
        let former = self.engine.former().unwrap_or_default();
        self.closings.follow(&desired, former);
        Ok((desired, refused))
    }

    /// Notes which routes stand, and tells of those that stood before and had to be made again.
    fn remember_routes(&mut self, wanted: Vec<WantedRoute>, outcome: &RouteOutcome) {
        for route in &wanted {
            if outcome.made.contains(&route.key) && self.routes.contains(route) {
                let route = route_text(route, &self.facts);
                self.repaired(format!("the route `{route}` had gone; made it again"));
            }
        }
        self.routes = wanted;
        self.routes
            .retain(|route| !outcome.refused.contains_key(&route.key));
    }

    fn repaired(&mut self, what: String) {
        warn!("{}: {what}", self.netns());
        self.write_report(|report| report.repairs.note(what, Timestamp::now()));
    }

    fn write_report(&mut self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.clone();
        change(&mut report);
        if self.saved && report == self.report {
            return;
        }
        // Written before it is told: who reads of it in the log finds it in `vrfgate status`.
        match report.save(&self.store, self.netns()) {
            Ok(()) => self.saved = true,
            Err(error) => warn!("writing the report for `vrfgate status`: {error}"),
        }
        tell_news(&self.report, &report);
        self.report = report;
    }
}
