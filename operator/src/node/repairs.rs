//! The latest repairs of gate, sysctls and routes, for `vrfgate status`. A repair that is made again and again is one entry
//! with a count.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many different repairs are remembered. Enough for a week of one daemon's habits, and for one screen.
const REMEMBERED: usize = 32;

/// One repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// What was found and what was done, in a sentence.
    pub what: String,
    /// How many times.
    pub count: u64,
    /// When it was found first.
    pub first: Timestamp,
    /// When it was found last.
    pub last: Timestamp,
}

/// Repairs, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Repairs(Vec<Repair>);

impl Repairs {
    /// Remembers one more. The one that was not seen for the longest time is forgotten when they become many.
    pub(super) fn note(&mut self, what: String, now: Timestamp) {
        let known = self.0.iter().position(|repair| repair.what == what);
        let repair = match known.map(|at| self.0.remove(at)) {
            Some(known) => Repair {
                count: known.count + 1,
                last: now,
                ..known
            },
            None => Repair {
                what,
                count: 1,
                first: now,
                last: now,
            },
        };
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(repair);
    }

    /// The latest last.
    #[must_use]
    pub fn all(&self) -> &[Repair] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_repair_is_one_entry_that_counts_and_comes_last() {
        let mut repairs = Repairs::default();
        for (second, what) in [(1, "sysctl"), (2, "route"), (3, "sysctl")] {
            repairs.note(what.into(), at(second));
        }
        let listed: Vec<_> = repairs
            .all()
            .iter()
            .map(|repair| {
                (
                    repair.what.as_str(),
                    repair.count,
                    repair.first,
                    repair.last,
                )
            })
            .collect();
        assert_eq!(
            listed,
            [("route", 1, at(2), at(2)), ("sysctl", 2, at(1), at(3))]
        );
    }

    #[test]
    fn however_many_there_are_the_latest_are_remembered() {
        let mut repairs = Repairs::default();
        for second in 0..1000 {
            repairs.note(format!("repair {second}"), at(second));
        }
        assert_eq!(repairs.all().len(), REMEMBERED);
        assert_eq!(repairs.all()[REMEMBERED - 1].what, "repair 999");
    }
}
