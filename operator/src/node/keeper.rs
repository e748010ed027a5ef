//! Looks after one namespace: what changes around the gate is followed, what something else did to it is put
//! right, and both are told. Owns engine, watcher and report; must not know where leaks come from.
//!
//! Whoever drives it (`vrfgate run`, an agent) waits for [`Keeper::stirred`] beside its own events, and hands
//! what came of it to [`Keeper::attend`].

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::{error, info, warn};
use vrfgate_ebpf::{Error, Netns, Store};

use super::{Engine, FactsError, LeakState, Outcome, Report, RouteState, Watcher};
use crate::compile::Leak;

/// How often the kernel is asked whether the gate is still in force. A gate that somebody detaches leaves
/// the door open for no longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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

/// Something for [`Keeper::attend`] to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nothing is done about it before `Keeper::attend`"]
pub enum Stir {
    /// Links, addresses or routes of the namespace have changed.
    Changed,
    /// The netlink connection is lost, and what changed since is not known.
    Lost,
    /// It is time to see whether gate and sysctls are as they should be.
    Due,
}

/// Keeps the gate of one namespace in line with leaks, and right.
pub struct Keeper {
    store: Store,
    engine: Engine,
    watcher: Watcher,
    leaks: Vec<Leak>,
    /// Last report written, so that only changes are written and logged.
    report: Option<Report>,
    due: Interval,
}

impl Keeper {
    /// Puts leaks into force. Fails, and changes nothing, when they can't be. Must be called within a Tokio
    /// runtime.
    pub async fn start(store: &Store, netns: Netns, leaks: Vec<Leak>) -> Result<Self, KeepError> {
        let mut due = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keeper = Self {
            store: store.clone(),
            watcher: Watcher::new(&netns)?,
            engine: Engine::new(store.clone(), netns),
            leaks,
            report: None,
            due,
        };
        keeper.reconcile().await?;
        Ok(keeper)
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        self.engine.netns()
    }

    /// Waits until there is something to look at. Nothing is lost when the wait is given up.
    pub async fn stirred(&mut self) -> Stir {
        tokio::select! {
            connected = self.watcher.changed() => if connected { Stir::Changed } else { Stir::Lost },
            _ = self.due.tick() => Stir::Due,
        }
    }

    /// Follows what changed, puts right what has to be. What can't be is told in log and report.
    pub async fn attend(&mut self, stir: Stir) {
        match stir {
            Stir::Changed => self.reconcile_or_report().await,
            Stir::Lost => match Watcher::new(self.netns()) {
                Ok(watcher) => {
                    self.watcher = watcher;
                    self.reconcile_or_report().await;
                }
                Err(error) => self.report_errors(vec![error.to_string()]),
            },
            Stir::Due => self.keep().await,
        }
    }

    /// Puts other leaks into force in the place of those that were.
    pub async fn put_in_force(&mut self, leaks: Vec<Leak>) {
        self.leaks = leaks;
        self.reconcile_or_report().await;
    }

    /// Tells in log and report why what was asked for last is not in force. What was in force stays.
    pub fn report_errors(&mut self, errors: Vec<String>) {
        let last = self.report.clone().unwrap_or_default();
        if errors == last.errors {
            return;
        }
        for error in &errors {
            error!("not in force what was asked for: {error}");
        }
        self.write_report(Report { errors, ..last });
    }

    /// Puts right what something else has done to gate or sysctls.
    async fn keep(&mut self) {
        match self.engine.keep() {
            Ok(false) => {}
            Ok(true) => warn!(
                "something had changed the l3mdev_accept sysctls of {}; set them again",
                self.netns()
            ),
            Err(error) => warn!("{error}"),
        }
        // Also when it could not be put in at the last try.
        if !self.engine.has_gate() {
            self.reconcile_or_report().await;
        }
    }

    async fn reconcile_or_report(&mut self) {
        if let Err(error) = self.reconcile().await {
            self.report_errors(vec![error.to_string()]);
        }
    }

    async fn reconcile(&mut self) -> Result<(), KeepError> {
        let facts = self.watcher.facts().await?;
        let Outcome {
            desired,
            attached,
            renewed,
            changes,
        } = self.engine.reconcile(&self.leaks, &facts)?;
        if attached {
            info!("the gate of {} is in force", self.netns());
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
        // The gate is in force before packets find their way to it.
        let routes = self.watcher.reconcile_routes(&desired.routes).await?;
        if routes.made + routes.removed > 0 {
            info!(
                "leak routes of {}: {} made, {} removed",
                self.netns(),
                routes.made,
                routes.removed
            );
        }
        self.write_report(Report::new(&self.leaks, &desired, &routes, &facts));
        Ok(())
    }

    fn write_report(&mut self, report: Report) {
        let last = self.report.as_ref();
        if last == Some(&report) {
            return;
        }
        tell_news(last, &report);
        if let Err(error) = report.save(&self.store, self.netns()) {
            warn!("writing the report for `vrfgate status`: {error}");
        }
        self.report = Some(report);
    }
}

/// Logs what is in a report and was not in the last.
fn tell_news(last: Option<&Report>, report: &Report) {
    for leak in &report.leaks {
        if last.is_some_and(|last| last.leaks.contains(leak)) {
            continue;
        }
        if leak.state == LeakState::InForce {
            info!("leak {} is in force in VRF {}", leak.name, leak.vrf);
        }
        for note in &leak.notes {
            warn!("leak {} {note}", leak.name);
        }
    }
    for route in &report.routes {
        if last.is_some_and(|last| last.routes.contains(route)) {
            continue;
        }
        match &route.state {
            RouteState::Made => {}
            RouteState::SomebodyElses => info!(
                "leak {}: somebody else's route stands in the place of `{}`, and was left alone",
                route.leak, route.route
            ),
            RouteState::Refused(reason) => warn!(
                "leak {}: making the route `{}`: {reason}",
                route.leak, route.route
            ),
        }
    }
}
