//! Keeps the gate of one namespace in line with leaks and facts.

use vrfgate_ebpf::{
    Capacity, Changes, Error, Gate, Mode, Netns, Protocol, Rule, RuleSet, Store, Vrf,
};

use crate::compile::{self, Desired, GatedVrf, Leak, NodeFacts, OpenService, Prefix, compile};

/// The engine of one namespace. Holds the gate, and with it the right to change it.
pub struct Engine {
    store: Store,
    netns: Netns,
    gate: Option<Gate>,
}

/// What one reconciliation found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the leaks and the facts make together; in force now.
    pub desired: Desired,
    /// Whether a gate had to be put in first.
    pub attached: bool,
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
        if self.gate.is_none() {
            self.gate = match Gate::open(&self.store, self.netns.clone()) {
                Err(Error::NotInForce { .. } | Error::OldLayout { .. }) => None,
                found => found?,
            };
        }
        let mut renewed = false;
        let (attached, changes) = if let Some(gate) = &mut self.gate {
            if !gate.is_current() {
                gate.renew()?;
                renewed = true;
            }
            (false, gate.apply(&rules)?)
        } else {
            let netns = self.netns.clone();
            let gate = Gate::attach(&self.store, netns, &rules, &Capacity::default())?;
            self.gate = Some(gate);
            (true, Changes::default())
        };
        Ok(Outcome {
            desired,
            attached,
            renewed,
            changes,
        })
    }

    /// Whether there is a gate. There is none before the first [`Engine::reconcile`], and after one that could
    /// not put in a new gate.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        self.gate.is_some()
    }

    /// Looks whether the gate is still in force, and the sysctls as they should be. True when something had
    /// changed the sysctls. When the gate isn't in force, they are 0 by now, and the next
    /// [`Engine::reconcile`] puts in a new gate.
    pub fn keep(&mut self) -> Result<bool, Error> {
        let Some(gate) = &mut self.gate else {
            return Ok(false);
        };
        let result = gate.keep();
        if let Err(Error::NotInForce { .. }) = result {
            self.gate = None;
        }
        result
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
