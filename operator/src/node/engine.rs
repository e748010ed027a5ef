//! Keeps the gate of one namespace in line with leaks and facts.

use vrfgate_ebpf::{
    Capacity, Changes, Error, Gate, Mended, Mode, Netns, OtherProgram, Protocol, Rule, RuleSet,
    Store, Vrf,
};

use crate::compile::{self, Desired, GatedVrf, Leak, NodeFacts, OpenService, Prefix, compile};

/// The engine of one namespace. Holds the gate, and with it the right to change it.
pub struct Engine {
    store: Store,
    netns: Netns,
    gate: Option<Gate>,
    /// Why a gate that was there is there no more.
    lost: Option<String>,
}

/// What one reconciliation found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the leaks and the facts make together; in force now.
    pub desired: Desired,
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
            gate: None,
            lost: None,
        }
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Brings the gate to what leaks and facts ask for: adopts the one that is there, puts one in where
    /// there is none, and changes only what differs. On an error, what was in force stays.
    pub fn reconcile(&mut self, leaks: &[Leak], facts: &NodeFacts) -> Result<Outcome, Error> {
        let desired = compile(leaks, facts);
        let rules = rule_set(&desired);
        let applied = match self.apply(&rules) {
            Err(Error::NotInForce { why, .. }) => {
                self.lose(why);
                None
            }
            applied => applied?,
        };
        if let Some((renewed, changes)) = applied {
            return Ok(Outcome {
                desired,
                attached: false,
                lost: None,
                renewed,
                changes,
            });
        }
        let netns = self.netns.clone();
        let gate = Gate::attach(&self.store, netns, &rules, &Capacity::default())?;
        self.gate = Some(gate);
        Ok(Outcome {
            desired,
            attached: true,
            lost: self.lost.take(),
            renewed: false,
            changes: Changes::default(),
        })
    }

    /// Applies rules to the gate that is there, if one is. Tells whether it had to be renewed.
    fn apply(&mut self, rules: &RuleSet) -> Result<Option<(bool, Changes)>, Error> {
        if self.gate.is_none() {
            self.gate = match Gate::open(&self.store, self.netns.clone()) {
                Err(Error::OldLayout { .. }) => None,
                found => found?,
            };
        }
        let Some(gate) = &mut self.gate else {
            return Ok(None);
        };
        let renewed = !gate.is_current();
        if renewed {
            gate.renew()?;
        }
        Ok(Some((renewed, gate.apply(rules)?)))
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

    /// The programs that decide beside the gate. None are known of while there is no gate.
    pub fn other_programs(&self) -> Result<Vec<OtherProgram>, Error> {
        self.gate
            .as_ref()
            .map_or(Ok(Vec::new()), Gate::other_programs)
    }
}

fn rule_set(desired: &Desired) -> RuleSet {
    let vrfs = desired.vrfs.iter().map(|vrf| (vrf.ifindex, gated(vrf)));
    let slaves = desired
        .vrfs
        .iter()
        .flat_map(|vrf| vrf.slaves.iter().map(|slave| (*slave, vrf.ifindex)));
    RuleSet {
        vrfs: vrfs.collect(),
        slaves: slaves.collect(),
    }
}

fn gated(vrf: &GatedVrf) -> Vrf {
    Vrf {
        name: vrf.name.clone(),
        mode: match (vrf.named_by_leak, vrf.mode) {
            (false, _) => Mode::AsBefore,
            (true, compile::Mode::Enforce) => Mode::Enforce,
            (true, compile::Mode::Audit) => Mode::Audit,
        },
        rules: vrf.services.iter().map(rule).collect(),
    }
}

fn rule(service: &OpenService) -> Rule {
    Rule {
        name: format!("{}/{}", service.leak, service.service),
        protocol: match service.protocol {
            compile::Protocol::Tcp => Protocol::Tcp,
            compile::Protocol::Udp => Protocol::Udp,
        },
        ports: service.ports.first()..=service.ports.last(),
        addresses: service.addresses.clone(),
        prefixes: service.prefixes.iter().copied().map(Prefix::into).collect(),
        sources: service.sources.iter().copied().map(Prefix::into).collect(),
    }
}
