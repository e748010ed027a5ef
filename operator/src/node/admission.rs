//! Which leaks go into force: the oldest first, each unless it is incompatible with those before it. So a leak that is too
//! large, or contradicts another, keeps no other out. Pure.

use vrfgate_core::{Leak, LeakName, NodeFacts, RuleSet, compile, first_conflict};
use vrfgate_ebpf::{Capacity, Needs};

use super::Reason;

/// A leak that does not go into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub leak: LeakName,
    /// The reason.
    pub reason: Reason,
    /// The reason as a sentence with the leak as its subject.
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
        // Each VRF counts, whether a leak names it or not.
        let Ok(vrfs) = compile(&[], facts).rule_set() else {
            // The facts were read while a name went from one VRF to another: no leak is to blame.
            return Self { leaks, refused };
        };
        let vrfs = Needs::of(&vrfs);
        let mut taken = vrfs;
        let mut admission = Self {
            leaks: Vec::new(),
            refused,
        };
        // Leaks that are admitted as they were: younger ones were only checked against what they are now.
        let mut as_before: Vec<Leak> = Vec::new();
        for leak in leaks {
            let mut older = as_before.iter();
            if let Some(conflict) = older.find_map(|older| first_conflict(older, &leak)) {
                let why = format!("conflicts with an older leak as that was before: {conflict}");
                admission.refuse(&leak, Reason::Conflict, why);
                continue;
            }
            let rules = match compile(std::slice::from_ref(&leak), facts).rule_set() {
                Ok(rules) => rules,
                Err(error) => {
                    let why = format!("contradicts itself: {error}");
                    admission.refuse(&leak, Reason::Conflict, why);
                    continue;
                }
            };
            let with = |rules: &RuleSet| {
                let needs = Needs::of(rules);
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
                let rules = compile(std::slice::from_ref(before), facts).rule_set();
                let needs = rules.ok().map(|rules| with(&rules));
                if let Some(needs) = needs.filter(|needs| needs.check(room).is_ok()) {
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
