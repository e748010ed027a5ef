//! Keeps the gate of one namespace in line with leaks and facts.

use vrfgate_core::{Desired, Leak, NodeFacts, RuleSet, compile};
use vrfgate_ebpf::{
    Capacity, Changes, Error, Gate, L3mdevAccept, Netns, OtherProgram, Repaired, SharedPort,
    SharedPorts, Store, Unlisted,
};

use super::admission::{Admission, Refused};

/// The engine of one namespace. Holds the gate, and with it the right to change it.
pub struct Engine {
    store: Store,
    netns: Netns,
    shared_ports: SharedPorts,
    gate: Option<Gate>,
    /// Why a former gate is gone.
    lost: Option<String>,
    /// The last request, and those of its leaks that are compatible.
    asked: Vec<Leak>,
    compatible: Admission,
    /// What was put into force last.
    in_force: Vec<Leak>,
}

/// What one reconciliation found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the leaks and the facts make together; in force now.
    pub desired: Desired,
    /// Leaks that are not in force, or only as they were, because they are incompatible with older ones.
    pub refused: Vec<Refused>,
    /// Whether a gate had to be attached first.
    pub attached: bool,
    /// Why the former gate was lost, if there was one.
    pub lost: Option<String>,
    /// Whether the gate ran the program of another version, and runs ours now.
    pub renewed: bool,
    /// Entries of the gate's maps that changed, of a gate that was there already.
    pub changes: Changes,
}

impl Engine {
    /// An engine that has not read its namespace yet.
    #[must_use]
    pub fn new(store: Store, netns: Netns) -> Self {
        Self {
            store,
            netns,
            shared_ports: SharedPorts::Refuse,
            gate: None,
            lost: None,
            asked: Vec::new(),
            compatible: Admission::default(),
            in_force: Vec::new(),
        }
    }

    /// The same, with another policy for shared TCP ports.
    #[must_use]
    pub fn on_shared_ports(self, shared_ports: SharedPorts) -> Self {
        Self {
            shared_ports,
            ..self
        }
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Brings the gate in line with leaks and facts: adopts the one that is there, attaches one where there is none, and
    /// changes only what differs. Leaks that can't be in force beside older ones are left out, but for those that have grown
    /// too large, which stay as they were. On an error, what was in force stays.
    pub fn reconcile(&mut self, leaks: &[Leak], facts: &NodeFacts) -> Result<Outcome, Error> {
        if let Err(error) = self.adopt() {
            self.lose_or(error)?;
        }
        let Admission { leaks, refused } = self.admit(leaks, facts);
        let desired = compile(&leaks, facts);
        let applied = match self.apply(desired.rule_set()?) {
            Ok(applied) => applied,
            Err(error) => {
                self.lose_or(error)?;
                None
            }
        };
        if let Some((renewed, changes)) = applied {
            self.in_force = leaks;
            return Ok(Outcome {
                desired,
                refused,
                attached: false,
                lost: None,
                renewed,
                changes,
            });
        }
        let netns = self.netns.clone();
        let (rules, capacity) = (desired.rule_set()?, Capacity::default());
        let gate = Gate::attach_with(&self.store, netns, &rules, &capacity, self.shared_ports)?;
        self.gate = Some(gate);
        self.in_force = leaks;
        Ok(Outcome {
            desired,
            refused,
            attached: true,
            lost: self.lost.take(),
            renewed: false,
            changes: Changes::default(),
        })
    }

    /// Which of these leaks go into force. Their conflicts are computed only when the leaks differ from the last ones.
    pub(super) fn admit(&mut self, leaks: &[Leak], facts: &NodeFacts) -> Admission {
        if self.asked != leaks {
            self.compatible = Admission::without_conflicts(leaks);
            self.asked = leaks.to_vec();
        }
        let room = match &self.gate {
            Some(gate) => gate.room(),
            None => Capacity::default().room(),
        };
        self.compatible.clone().fit(facts, room, &self.in_force)
    }

    /// Takes over the gate that is there, if one is.
    fn adopt(&mut self) -> Result<(), Error> {
        if self.gate.is_none() {
            self.gate = match Gate::open(&self.store, self.netns.clone()) {
                Err(Error::OldLayout { .. }) => None,
                found => found?,
            };
        }
        Ok(())
    }

    /// Applies rules to the gate that is there, if one is. Returns whether it had to be renewed.
    fn apply(&mut self, rules: RuleSet) -> Result<Option<(bool, Changes)>, Error> {
        let Some(gate) = &mut self.gate else {
            return Ok(None);
        };
        gate.on_shared_ports(self.shared_ports);
        let renewed = !gate.is_current()?;
        if renewed {
            gate.renew()?;
        }
        Ok(Some((renewed, gate.apply(rules)?)))
    }

    /// Notes that the gate is not in force; hands any other error on.
    fn lose_or(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::NotInForce { why, .. } => {
                self.lose(why);
                Ok(())
            }
            error => Err(error),
        }
    }

    fn lose(&mut self, why: String) {
        self.gate = None;
        // The first reason explains more: the next is that the new gate isn't there either.
        self.lost.get_or_insert(why);
    }

    /// Whether there is a gate. There is none before the first [`Engine::reconcile`], and after one that could
    /// not attach a new gate.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        self.gate.is_some()
    }

    /// What the sysctls were before the gate; `None` while there is none.
    #[must_use]
    pub fn former(&self) -> Option<L3mdevAccept> {
        self.gate.as_ref().map(Gate::former)
    }

    /// Checks whether the gate is still in force, and repairs what else was done to it. When the gate isn't in force, the
    /// sysctls are 0 by now, and the next [`Engine::reconcile`] attaches a new gate.
    pub fn keep(&mut self) -> Result<Vec<Repaired>, Error> {
        let Some(gate) = &mut self.gate else {
            // Something may open the door while there is no gate.
            Gate::close_if_missing(&self.store, &self.netns)?;
            return Ok(Vec::new());
        };
        let result = gate.keep();
        if let Err(Error::NotInForce { why, .. }) = &result {
            self.lose(why.clone());
        }
        result
    }

    /// Protocols whose sockets the kernel doesn't list, so that the gate may not know them.
    #[must_use]
    pub fn unlisted(&self) -> &[Unlisted] {
        self.gate.as_ref().map_or(&[], Gate::unlisted)
    }

    /// The programs that decide beside the gate. None while there is no gate.
    pub fn other_programs(&self) -> Result<Vec<OtherProgram>, Error> {
        self.gate
            .as_ref()
            .map_or(Ok(Vec::new()), Gate::other_programs)
    }
}

impl Engine {
    /// Ports that have come to be shared since the gate came, and are dangerous; as of the last [`Engine::keep`].
    #[must_use]
    pub fn later_shared_ports(&self) -> &[SharedPort] {
        self.gate
            .as_ref()
            .map_or(&[], |gate| gate.later_shared_ports())
    }

    /// Has the gate stay until it is removed by name.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.gate.as_mut().map_or(Ok(()), Gate::prepare)
    }

    /// Whether somebody has prepared the gate, so that it stays although nothing is asked for.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_prepared)
    }

    /// Whether the namespace can be restored; [`Error::PortShared`] when not. Changes nothing.
    pub fn may_restore(&self) -> Result<(), Error> {
        self.gate.as_ref().map_or(Ok(()), Gate::may_detach)
    }
}
