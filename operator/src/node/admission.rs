//! Which leaks go into force: the oldest first, each unless it can't be in force beside those before it. So one leak
//! that is too much, or contradicts another, keeps no other out. Pure.

use std::collections::HashMap;

use ipnet::IpNet;
use vrfgate_ebpf::{Capacity, Mode, Needs, Opening, Protocol, Rule, RuleSet, Vrf};

use super::Reason;
use vrfgate_core::{
    self, Desired, GatedVrf, Leak, LeakName, NodeFacts, OpenService, Prefix, ServiceName, compile,
    first_conflict,
};

/// A leak that is not put into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub leak: LeakName,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence that the leak is the subject of.
    pub why: String,
}

/// Leaks that go into force, and those that don't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Free of conflicts, in the order asked for.
    pub leaks: Vec<Leak>,
    /// The others.
    pub refused: Vec<Refused>,
}

impl Admission {
    /// Leaves out leaks that conflict with an older one. That depends on nothing but the leaks.
    pub fn without_conflicts(leaks: &[Leak]) -> Self {
        let mut admission = Self::default();
        for leak in leaks {
            let mut older = admission.leaks.iter();
            match older.find_map(|older| first_conflict(older, leak)) {
                None => admission.leaks.push(leak.clone()),
                Some(conflict) => {
                    let why = format!("conflicts with an older leak: {conflict}");
                    admission.refuse(leak, Reason::Conflict, why);
                }
            }
        }
        admission
    }

    /// Leaves out leaks that the gate has no room for beside older ones, in a namespace that looks like `facts`. One that has
    /// grown too large goes on as it is in `in_force`, if that still fits: it is refused, and admitted as it was.
    pub fn fit(self, facts: &NodeFacts, room: Needs, in_force: &[Leak]) -> Self {
        let Self { leaks, refused } = self;
        let mut admission = Self {
            leaks: Vec::new(),
            refused,
        };
        // Each VRF counts, whether a leak names it or not.
        let vrfs = rule_set(&compile(&[], facts)).needs();
        let mut taken = vrfs;
        // Leaks that are admitted as they were: younger ones go together with what they are now.
        let mut as_before: Vec<Leak> = Vec::new();
        for leak in leaks {
            let mut older = as_before.iter();
            if let Some(conflict) = older.find_map(|older| first_conflict(older, &leak)) {
                let why = format!("conflicts with an older leak as that was before: {conflict}");
                admission.refuse(&leak, Reason::Conflict, why);
                continue;
            }
            let rules = rule_set(&compile(std::slice::from_ref(&leak), facts));
            if let Err(error) = rules.check() {
                admission.refuse(
                    &leak,
                    Reason::Conflict,
                    format!("contradicts itself: {error}"),
                );
                continue;
            }
            let with = |rules: &RuleSet| {
                let needs = rules.needs();
                taken.and(Needs {
                    counters: needs.counters - vrfs.counters,
                    ..needs
                })
            };
            let Err(error) = with(&rules).check(room) else {
                taken = with(&rules);
                admission.leaks.push(leak);
                continue;
            };
            let mut why = format!("has no room beside older leaks: {error}");
            let before = in_force.iter().find(|before| before.name == leak.name);
            if let Some(before) = before.filter(|before| admission.goes_with(before)) {
                let rules = rule_set(&compile(std::slice::from_ref(before), facts));
                let needs = with(&rules);
                if needs.check(room).is_ok() {
                    why.push_str("; it stays in force as it was");
                    taken = needs;
                    admission.leaks.push(before.clone());
                    as_before.push(before.clone());
                }
            }
            admission.refuse(&leak, Reason::NoRoom, why);
        }
        admission
    }

    /// Whether a leak conflicts with none that is admitted.
    fn goes_with(&self, leak: &Leak) -> bool {
        let mut admitted = self.leaks.iter();
        admitted.all(|admitted| first_conflict(admitted, leak).is_none())
    }

    fn refuse(&mut self, leak: &Leak, reason: Reason, why: String) {
        self.refused.push(Refused {
            leak: leak.name.clone(),
            reason,
            why,
        });
    }
}

/// What of these leaks would go into force by a gate that is yet to come, and what wouldn't.
#[must_use]
pub fn would_admit(leaks: &[Leak], facts: &NodeFacts) -> (Vec<Leak>, Vec<Refused>) {
    let Admission { leaks, refused } =
        Admission::without_conflicts(leaks).fit(facts, Capacity::default().room(), &[]);
    (leaks, refused)
}

/// What a gate has to hold.
pub(super) fn rule_set(desired: &Desired) -> RuleSet {
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
            (true, vrfgate_core::Mode::Enforce) => Mode::Enforce,
            (true, vrfgate_core::Mode::Audit) => Mode::Audit,
        },
        rules: rules(&vrf.services),
    }
}

/// One rule for each name: services of one name are what a reference leads to, and count together.
fn rules(services: &[OpenService]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: HashMap<(&LeakName, &ServiceName), usize> = HashMap::new();
    for service in services {
        let sources: Vec<IpNet> = service.sources.iter().copied().map(Prefix::into).collect();
        let place = places.get(&(&service.leak, &service.service)).copied();
        // Those of another source are another rule, which is refused for its name.
        match place.and_then(|place| rules.get_mut(place)) {
            Some(rule) if rule.sources == sources => add(&mut rule.opens, opening(service)),
            _ => {
                places.insert((&service.leak, &service.service), rules.len());
                rules.push(Rule {
                    name: format!("{}/{}", service.leak, service.service),
                    opens: vec![opening(service)],
                    sources,
                });
            }
        }
    }
    rules
}

/// The same ports on more addresses are one opening.
fn add(opens: &mut Vec<Opening>, opening: Opening) {
    let same = opens
        .iter_mut()
        .find(|there| (there.protocol, &there.ports) == (opening.protocol, &opening.ports));
    let Some(there) = same else {
        opens.push(opening);
        return;
    };
    for address in opening.addresses {
        if !there.addresses.contains(&address) {
            there.addresses.push(address);
        }
    }
    for prefix in opening.prefixes {
        if !there.prefixes.contains(&prefix) {
            there.prefixes.push(prefix);
        }
    }
}

fn opening(service: &OpenService) -> Opening {
    Opening {
        protocol: match service.protocol {
            vrfgate_core::Protocol::Tcp => Protocol::Tcp,
            vrfgate_core::Protocol::Udp => Protocol::Udp,
        },
        ports: service.ports.first()..=service.ports.last(),
        addresses: service.addresses.clone(),
        prefixes: service.prefixes.iter().copied().map(Prefix::into).collect(),
    }
}
