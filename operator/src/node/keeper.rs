//! Keeps one namespace: follows what changes around its gate, repairs what something else did to it, and reports both.
//! Owns the order between the parts, and when each has its turn. Must not know where leaks come from.
//!
//! The caller (`vrfgate run`, an agent) waits for [`Keeper::next_event`] beside its own events, and passes each event
//! to [`Keeper::handle`].

use std::time::Duration;

use tokio::time::{Instant, Interval, sleep};
use tracing::warn;
use vrfgate_core::{Desired, Leak, Link, MarkMask, NodeFacts, VrfName};
use vrfgate_ebpf::{Error, Netns, SharedPorts};
use vrfgate_machine::is_shortage;

use self::{gate::KeptGate, journal::Journal, routes::KeptRoutes, steering::KeptSteering};
use super::{Change, FactsError, LeakReport, Refused, Report, Watcher, closings::Closings};

mod gate;
mod journal;
mod lifecycle;
mod routes;
mod steering;

/// How often the kernel is asked whether the gate is still in force. A gate that somebody detaches leaves
/// the door open for no longer than this; asking takes fewer than a hundred system calls.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// How often the keeper tries again to attach a gate that could not be attached.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How often everything is reconciled although no change was reported: links, addresses, routes and policy rules. Not
/// what the gate's maps hold: that is remembered.
const RECONCILE_EVERY: Duration = Duration::from_mins(1);

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

/// Something for [`Keeper::handle`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is done about it before `Keeper::handle`"]
pub enum Event {
    /// Links, addresses, routes or rules of the namespace have changed.
    Changed(Change),
    /// The netlink connection is lost, and what changed since is not known.
    Lost,
    /// It is time to check gate and sysctls.
    Poll,
    /// The name of the namespace is gone: time for [`Keeper::leave`].
    Gone,
}

/// Keeps one namespace in line with leaks.
pub struct Keeper {
    watcher: Watcher,
    leaks: Vec<Leak>,
    /// As of the last reconciliation.
    facts: NodeFacts,
    gate: KeptGate,
    routes: KeptRoutes,
    steering: KeptSteering,
    closings: Closings,
    journal: Journal,
    poll: Interval,
    reconcile_at: Instant,
    retry_at: Instant,
    /// Whether the last reconciliation could not ask the kernel.
    unsure: bool,
}

impl Keeper {
    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        self.gate.netns()
    }

    /// The VRFs of the namespace, as of the last reconciliation.
    #[must_use]
    pub fn vrfs(&self) -> Vec<VrfName> {
        let links = self.facts.links.iter();
        let vrfs = links.filter(|link| link.is_vrf());
        let mut names: Vec<VrfName> = vrfs.filter_map(|link| link.name.parse().ok()).collect();
        names.sort();
        names
    }

    /// What is in force, as of the last reconciliation.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.journal.report()
    }

    /// Waits for the next event. No event is lost when the wait is cancelled.
    pub async fn next_event(&mut self) -> Event {
        tokio::select! {
            // A new VRF is open until the gate knows it: changes come first.
            biased;
            change = self.watcher.changed() => change.map_or(Event::Lost, Event::Changed),
            _ = self.poll.tick() => if self.netns().is_named() { Event::Poll } else { Event::Gone },
        }
    }

    /// Follows what changed, and repairs what has to be. What can't be repaired is logged and reported.
    pub async fn handle(&mut self, event: Event) {
        match event {
            Event::Changed(Change { links, rules, .. }) => {
                self.gate_new_devices(links);
                if rules {
                    self.check_local_rules().await;
                }
                self.reconcile_or_report().await;
            }
            Event::Lost => match Watcher::new(self.netns()) {
                Ok(watcher) => {
                    warn!(
                        "the netlink connection into {} was lost; made a new one",
                        self.netns()
                    );
                    self.watcher = watcher;
                    self.check_local_rules().await;
                    self.reconcile_or_report().await;
                }
                Err(error) => {
                    self.journal.report_failure(error.to_string());
                    // No other event comes meanwhile: a gate that is gone would leave the door open.
                    self.repair_gate();
                    // Whatever is in the way, asking again at once won't help.
                    sleep(RETRY_EVERY).await;
                }
            },
            Event::Poll => self.repair().await,
            Event::Gone => {}
        }
    }

    /// Replaces the leaks in force.
    pub async fn put_in_force(&mut self, leaks: Vec<Leak>) {
        self.leaks = leaks;
        self.journal.clear_mistakes();
        self.reconcile_or_report().await;
    }

    /// Logs and reports why the last request is not in force. What was in force stays.
    pub fn report_errors(&mut self, errors: Vec<String>) {
        self.journal.report_mistakes(errors);
    }

    /// Brings everything in line with leaks and facts. The order is the invariant:
    ///
    /// 1. The gate is repaired, then reconciled, with no `await` between: something else could change it meanwhile.
    ///    The loader sets its sysctls last.
    /// 2. Routes come once the gate is in force: no packet finds its way past it.
    /// 3. Replies are steered once there are routes.
    /// 4. The report is last; the journal writes it before it logs it.
    async fn reconcile(&mut self) -> Result<(), KeepError> {
        self.facts = self.watcher.facts().await?;
        if self.gate.exists() {
            // What reconciling would reset on its way would go unreported.
            self.repair_gate();
        }
        let (desired, refused) = self.reconcile_gate()?;
        let routes = self
            .routes
            .reconcile(&mut self.watcher, &desired.routes, &self.facts)
            .await?;
        let steering = self
            .steering
            .reconcile(&self.watcher, &desired.steered)
            .await?;
        let report = Report::new(&self.leaks, &refused, &desired, &routes, &self.facts);
        self.gate.clear_pending();
        let mut leaks = report.leaks;
        self.report_closings(&mut leaks).await;
        self.routes
            .remember(desired.routes, &routes, &self.facts, &mut self.journal);
        let mistakes = self.journal.mistakes();
        self.journal.write(|last| {
            last.leaks = leaks;
            last.pending = None;
            last.routes = report.routes;
            last.set_steering(&steering);
            last.errors = mistakes;
        });
        Ok(())
    }

    /// As [`Keeper::reconcile`], but shared ports are no error: the gate waits for them.
    async fn reconcile_or_wait(&mut self) -> Result<(), KeepError> {
        match self.reconcile().await {
            Err(KeepError::Gate(Error::PortShared { shared, .. })) => {
                self.retry_at = Instant::now() + RETRY_EVERY;
                self.gate
                    .wait_for_ports(&shared, &self.leaks, &self.facts, &mut self.journal);
                Ok(())
            }
            result => result,
        }
    }

    async fn reconcile_or_report(&mut self) {
        self.reconcile_at = Instant::now() + RECONCILE_EVERY;
        let reconciled = self.reconcile_or_wait().await;
        self.unsure = match &reconciled {
            Ok(()) => false,
            Err(KeepError::Facts(_)) => true,
            Err(KeepError::Gate(error)) => error.is_shortage(),
        };
        if let Err(error) = reconciled {
            self.journal.report_failure(error.to_string());
        }
    }

    /// Repairs what something else has done, each part when it is due, and sees to it that there is a gate.
    async fn repair(&mut self) {
        self.repair_gate();
        if self.steering.is_due() {
            self.steering.repair(&self.watcher, &mut self.journal).await;
        }
        if self.closings.is_due() {
            let mut leaks = self.report().leaks.clone();
            self.report_closings(&mut leaks).await;
            self.journal.write(|report| report.leaks = leaks);
        }
        // Also when it could not be attached at the last try.
        let again = self.unsure || !self.gate.exists() || self.gate.is_pending();
        let due = Instant::now() >= self.reconcile_at;
        if due || (again && Instant::now() >= self.retry_at) {
            self.retry_at = Instant::now() + RETRY_EVERY;
            self.reconcile_or_report().await;
        }
        self.gate.report(&self.facts, &mut self.journal);
    }

    /// Repairs gate, pins and sysctls.
    fn repair_gate(&mut self) {
        self.gate
            .repair(&self.leaks, &self.facts, &mut self.journal);
    }

    fn reconcile_gate(&mut self) -> Result<(Desired, Vec<Refused>), Error> {
        let (desired, refused) =
            self.gate
                .reconcile(&self.leaks, &self.facts, &mut self.journal)?;
        self.closings.follow(&desired, self.gate.former());
        Ok((desired, refused))
    }

    /// Makes the gate know new VRFs and slaves before everything is reconciled, so that they are open for as short as can
    /// be. The facts of the last reconciliation are enough for that; the next follows at once.
    fn gate_new_devices(&mut self, links: Vec<Link>) {
        let mut concerned = false;
        for link in links {
            concerned |= self.facts.update_link(link);
        }
        if !concerned {
            return;
        }
        // What reconciling would reset on its way would go unreported.
        self.repair_gate();
        if let Err(error) = self.reconcile_gate() {
            // The reconciliation of everything reports what is still wrong then.
            warn!("gating a new VRF or slave of {}: {error}", self.netns());
        }
    }

    async fn check_local_rules(&mut self) {
        self.routes
            .check_local_rules(&self.watcher, &mut self.journal)
            .await;
    }

    /// Adds to the reports of leaks which listeners they closed.
    async fn report_closings(&mut self, leaks: &mut [LeakReport]) {
        self.closings
            .report(
                &self.watcher,
                self.gate.netns(),
                &self.facts,
                self.gate.former(),
                leaks,
            )
            .await;
    }
}
