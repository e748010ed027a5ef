//! The keeper's part for reply steering.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use vrfgate_core::{MarkMask, SteeredVrf};

use super::{
    super::{FactsError, SteerOutcome, Watcher},
    journal::Journal,
};

/// How often reply steering is compared with what it should be: `nf_tables` and policy rules report none of their
/// changes on the sockets that we listen to, and reading them takes longer than the rest.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The reply steering of a namespace.
pub(super) struct KeptSteering {
    mask: MarkMask,
    /// VRFs whose UDP answers are steered.
    vrfs: Vec<SteeredVrf>,
    due: Instant,
}

impl KeptSteering {
    pub(super) fn new(mask: MarkMask) -> Self {
        Self {
            mask,
            vrfs: Vec::new(),
            due: Instant::now(),
        }
    }

    /// Steers the answers of these VRFs, and no others.
    pub(super) async fn reconcile(
        &mut self,
        watcher: &Watcher,
        vrfs: &[SteeredVrf],
    ) -> Result<SteerOutcome, FactsError> {
        let outcome = watcher.reconcile_steering(vrfs, self.mask).await?;
        if outcome.changed {
            info!(
                "reply steering of {}: {} VRFs",
                watcher.netns(),
                outcome.steering.vrfs.len()
            );
        }
        self.vrfs = vrfs.to_vec();
        Ok(outcome)
    }

    /// Whether it is time for [`KeptSteering::repair`].
    pub(super) fn is_due(&self) -> bool {
        !self.vrfs.is_empty() && Instant::now() >= self.due
    }

    /// Repairs and reports what something else has changed.
    pub(super) async fn repair(&mut self, watcher: &Watcher, journal: &mut Journal) {
        self.due = Instant::now() + POLL_EVERY;
        match watcher.reconcile_steering(&self.vrfs, self.mask).await {
            Ok(outcome) => {
                if outcome.changed {
                    journal.note_repair("reply steering had been changed; repaired it".into());
                }
                journal.write(|report| report.set_steering(&outcome));
            }
            Err(error) => warn!("{error}"),
        }
    }
}
