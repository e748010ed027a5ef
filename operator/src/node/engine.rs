//! Keeps the gate of one namespace in line with leaks and facts.

use vrfgate_ebpf::{
    Capacity, Changes, Error, Gate, L3mdevAccept, Mended, Netns, OtherProgram, RuleSet, SharedPort,
    SharedPorts, Store, Unlisted,
};

use super::admission::{Admission, Refused, rule_set};
use vrfgate_core::{Desired, Leak, NodeFacts, compile};

/// The engine of one namespace. Holds the gate, and with it the right to change it.
pub struct Engine {
    store: Store,
    netns: Netns,
    shared_ports: SharedPorts,
    gate: Option<Gate>,
    /// Why a gate that was there is there no more.
    lost: Option<String>,
    /// What was asked for last, and what of it goes together.
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
    /// Leaks that are not in force, or only as they were, because they can't be beside older ones.
    pub refused: Vec<Refused>,
    /// Whether a gate had to be put in first.
    pub attached: bool,
    /// Why, when there had been one.
    pub lost: Option<String>,
    /// Whether the gate ran the program of another version, and runs ours now.
    pub renewed: bool,
    /// Entries of the gate's maps that changed, of a gate that was there already.
    pub changes: Changes,
}

impl Engine {
    /// An engine that has not looked at its namespace yet.
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

    /// The same, with something else to be done while shared TCP ports are in the way.
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

    /// Brings the gate to what leaks and facts ask for: adopts the one that is there, puts one in where
    /// there is none, and changes only what differs. Leaks that can't be in force beside older ones are left out, but for those
    /// that have grown too large, which stay as they were. On an
    /// error, what was in force stays.
    pub fn reconcile(&mut self, leaks: &[Leak], facts: &NodeFacts) -> Result<Outcome, Error> {
        if let Err(error) = self.adopt() {
            self.lose_or(error)?;
        }
        let Admission { leaks, refused } = self.admit(leaks, facts);
        let desired = compile(&leaks, facts);
        let rules = rule_set(&desired);
        let applied = match self.apply(&rules) {
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
        let capacity = Capacity::default();
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

    /// What goes into force of these leaks. Which contradict each other is looked at only when they are others.
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

    /// Applies rules to the gate that is there, if one is. Tells whether it had to be renewed.
    fn apply(&mut self, rules: &RuleSet) -> Result<Option<(bool, Changes)>, Error> {
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
        // What was found first says more: afterwards, it is that the new one isn't there either.
        self.lost.get_or_insert(why);
    }

    /// Whether there is a gate. There is none before the first [`Engine::reconcile`], and after one that could
    /// not put in a new gate.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        self.gate.is_some()
    }

    /// What the sysctls were before the gate; `None` while there is none.
    #[must_use]
    pub fn former(&self) -> Option<L3mdevAccept> {
        self.gate.as_ref().map(Gate::former)
    }

    /// Looks whether the gate is still in force, and puts right what else was done to it. When the gate isn't
    /// in force, the sysctls are 0 by now, and the next [`Engine::reconcile`] puts in a new gate.
    pub fn keep(&mut self) -> Result<Vec<Mended>, Error> {
        let Some(gate) = &mut self.gate else {
            // Somebody may open the door while there is nobody to guard it.
            Gate::close_if_missing(&self.store, &self.netns)?;
            return Ok(Vec::new());
        };
        let result = gate.keep();
        if let Err(Error::NotInForce { why, .. }) = &result {
            self.lose(why.clone());
        }
        result
    }

    /// Protocols whose sockets the kernel doesn't list, and so the gate may not know.
    #[must_use]
    pub fn unlisted(&self) -> &[Unlisted] {
        self.gate.as_ref().map_or(&[], Gate::unlisted)
    }

    /// The programs that decide beside the gate. None are known of while there is no gate.
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

    /// Has the gate stay until it is taken away by name.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.gate.as_mut().map_or(Ok(()), Gate::prepare)
    }

    /// Why the gate stays although nothing is asked for: somebody has prepared it.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_prepared)
    }

    /// Whether the namespace can be given back; [`Error::PortShared`] when not. Changes nothing.
    pub fn may_give_back(&self) -> Result<(), Error> {
        self.gate.as_ref().map_or(Ok(()), Gate::may_detach)
    }
}
