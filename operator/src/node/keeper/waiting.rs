//! A keeper that can't begin yet, or whose gate has come before anybody needs it: it waits for ports that are shared, and
//! for whoever offers the gate.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use vrfgate_ebpf::{Error, SharedPort};

use super::{
    super::{Report, RouteOutcome, admission::Admission, ask_to_hand_over, shared::why_it_waits},
    KeepError, Keeper, LOOK_EVERY, RETRY_EVERY,
};
use vrfgate_core::compile;

/// How long whoever offers a gate may take to let go of it.
const HANDING_OVER: Duration = Duration::from_secs(10);

impl Keeper {
    /// As [`Keeper::reconcile`], but shared ports are no error: they are waited for.
    pub(super) async fn reconcile_or_wait(&mut self) -> Result<(), KeepError> {
        match self.reconcile().await {
            Err(KeepError::Gate(Error::PortShared { shared, .. })) => {
                self.retry_at = Instant::now() + RETRY_EVERY;
                self.wait_for_ports(&shared);
                Ok(())
            }
            result => result,
        }
    }

    /// Whoever offers the gate is asked for it, and waited for.
    pub(super) async fn reconcile_first(&mut self) -> Result<(), KeepError> {
        let end = Instant::now() + HANDING_OVER;
        let mut asked = false;
        loop {
            match self.reconcile_or_wait().await {
                Err(KeepError::Gate(Error::Busy { .. })) if Instant::now() < end => {
                    asked = asked || ask_to_hand_over(&self.store, self.netns()).unwrap_or(false);
                    if !asked {
                        return self.reconcile_or_wait().await;
                    }
                    sleep(LOOK_EVERY).await;
                }
                result => return result,
            }
        }
    }

    /// Tells in log and report that the gate waits. What was in force stays.
    pub(super) fn wait_for_ports(&mut self, shared: &[SharedPort]) {
        let why = match self.waits.take() {
            // Looking for processes takes longer than all the rest.
            Some((known, why)) if known == shared => why,
            _ => why_it_waits(shared, &self.facts),
        };
        let Admission { leaks, refused } = self.engine.admit(&self.leaks, &self.facts);
        let desired = compile(&leaks, &self.facts);
        let waiting = Report::new(
            &self.leaks,
            &refused,
            &desired,
            &RouteOutcome::default(),
            &self.facts,
        )
        .waiting_for_ports(&why);
        self.waits = Some((shared.to_vec(), why));
        let mistakes = self.mistakes.clone();
        self.write_report(|last| {
            last.leaks = waiting.leaks;
            last.waits = waiting.waits;
            last.errors = mistakes;
        });
    }

    /// Has the gate stay until it is taken away by name.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.engine.prepare()
    }

    /// Whether somebody has prepared the gate, so that it stays while nothing is asked for.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.engine.is_prepared()
    }

    /// Whether the namespace can be given back; [`Error::PortShared`] when not. Changes nothing.
    pub fn may_give_back(&self) -> Result<(), Error> {
        self.engine.may_give_back()
    }
}
