//! The keeper's part for the gate: reconciles, repairs and reports it. Knows nothing of routes and steering, and
//! awaits nothing: while it waits, something else could change the gate.

use tracing::{info, warn};
use vrfgate_core::{Desired, Leak, NodeFacts, compile};
use vrfgate_ebpf::{
    Error, L3mdevAccept, Netns, OtherProgram, Repaired, SharedPort, kernel_is_concerned,
};

use super::{
    super::{
        Engine, Outcome, Refused, Report, RouteOutcome,
        admission::Admission,
        clashes::warn_of_clashes,
        shared::{came_later, why_it_waits},
        words::{overridden, repaired, unlisted},
    },
    journal::Journal,
};

/// The gate, and what is known of its surroundings.
pub(super) struct KeptGate {
    engine: Engine,
    /// Why gate, pins or sysctls could not be repaired.
    trouble: Option<String>,
    /// Shared ports that the gate waits for, and the text about them.
    pending: Option<(Vec<SharedPort>, String)>,
    /// Ports that came to be shared after the gate came, and the text about them.
    later: (Vec<SharedPort>, Vec<String>),
    others: Vec<OtherProgram>,
}

impl KeptGate {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            trouble: None,
            pending: None,
            later: (Vec::new(), Vec::new()),
            others: Vec::new(),
        }
    }

    pub(super) fn netns(&self) -> &Netns {
        self.engine.netns()
    }

    pub(super) fn exists(&self) -> bool {
        self.engine.has_gate()
    }

    /// What the sysctls were before the gate; absent while there is none.
    pub(super) fn former(&self) -> L3mdevAccept {
        self.engine.former().unwrap_or_default()
    }

    /// Whether the gate waits for shared ports.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn clear_pending(&mut self) {
        self.pending = None;
    }

    /// Has the gate stay until it is removed by name.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        self.engine.prepare()
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.engine.is_prepared()
    }

    pub(super) fn may_restore(&self) -> Result<(), Error> {
        self.engine.may_restore()
    }

    /// Brings the gate in line with leaks and facts, and logs what came of it.
    pub(super) fn reconcile(
        &mut self,
        leaks: &[Leak],
        facts: &NodeFacts,
        journal: &mut Journal,
    ) -> Result<(Desired, Vec<Refused>), Error> {
        let Outcome {
            desired,
            refused,
            attached,
            lost,
            renewed,
            changes,
        } = self.engine.reconcile(leaks, facts)?;
        if attached {
            info!("the gate of {} is in force", self.netns());
            warn_of_clashes(self.netns(), facts);
            if let Some(why) = lost {
                journal.note_repair(format!(
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
        Ok((desired, refused))
    }

    /// Repairs what something else has done to gate, pins or sysctls.
    pub(super) fn repair(&mut self, leaks: &[Leak], facts: &NodeFacts, journal: &mut Journal) {
        match self.engine.keep() {
            Ok(found) => {
                if found.contains(&Repaired::Record) {
                    // The report was beside it.
                    journal.forget_saved();
                }
                self.trouble = None;
                for repair in found.into_iter().flat_map(repaired) {
                    journal.note_repair(repair);
                }
            }
            Err(Error::PortShared { shared, .. }) => {
                let known = self.pending.as_ref().map(|(known, _)| known);
                if known != Some(&shared) {
                    self.wait_for_ports(&shared, leaks, facts, journal);
                }
            }
            Err(error) => {
                let trouble = Some(error.to_string());
                if trouble != self.trouble {
                    warn!("{error}");
                    if matches!(error, Error::NotInForce { .. }) && kernel_is_concerned() {
                        // An open door is worse than what may come of closing it.
                        warn_of_clashes(self.netns(), facts);
                    }
                }
                self.trouble = trouble;
            }
        }
    }

    /// Logs and reports that the gate waits for shared ports. What was in force stays.
    pub(super) fn wait_for_ports(
        &mut self,
        shared: &[SharedPort],
        leaks: &[Leak],
        facts: &NodeFacts,
        journal: &mut Journal,
    ) {
        let why = match self.pending.take() {
            // Looking for processes takes longer than all the rest.
            Some((known, why)) if known == shared => why,
            _ => why_it_waits(shared, facts),
        };
        let Admission {
            leaks: admitted,
            refused,
        } = self.engine.admit(leaks, facts);
        let desired = compile(&admitted, facts);
        let pending = Report::new(leaks, &refused, &desired, &RouteOutcome::default(), facts)
            .pending_for_ports(&why);
        self.pending = Some((shared.to_vec(), why));
        let mistakes = journal.mistakes();
        journal.write(|last| {
            last.leaks = pending.leaks;
            last.pending = pending.pending;
            last.errors = mistakes;
        });
    }

    /// Looks for programs that override the gate, and reports everything that a person should look into.
    pub(super) fn report(&mut self, facts: &NodeFacts, journal: &mut Journal) {
        match self.engine.other_programs() {
            Ok(others) => self.others = others,
            Err(error) => warn!("{error}"),
        }
        let shared = self.engine.later_shared_ports();
        if self.later.0 != shared {
            self.later = (shared.to_vec(), came_later(shared, facts));
        }
        let warnings: Vec<String> = overridden(&self.others)
            .into_iter()
            .chain(self.engine.unlisted().iter().copied().map(unlisted))
            .chain(self.trouble.clone())
            .chain(self.later.1.iter().cloned())
            .collect();
        journal.write(|report| report.warnings = warnings);
    }
}
