//! What the maps of a gate have room for.

use vrfgate_abi::PortBlocks;
use vrfgate_core::{PortRange, RuleSet};

/// Entries of a gate's maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Slots of `counters`: one a rule and one a VRF.
    pub counters: usize,
    /// Entries of `rules`: one for each local address and block of ports.
    pub rules: usize,
    /// Entries of `prefix_rules`: one for each local prefix and block of ports.
    pub prefix_rules: usize,
    /// Entries of `sources`: one for each source prefix of each restricted rule.
    pub sources: usize,
}

impl Needs {
    /// The entries that rules take at most.
    #[must_use]
    pub fn of(rules: &RuleSet) -> Self {
        let mut needs = Self::default();
        for vrf in rules.vrfs().values() {
            needs.counters += 1;
            for rule in &vrf.rules {
                needs.counters += 1;
                needs.sources += rule.sources.len();
                for opening in &rule.opens {
                    let blocks = blocks(opening.ports).count();
                    needs.rules += blocks * opening.addresses.len();
                    needs.prefix_rules += blocks * opening.prefixes.len();
                }
            }
        }
        needs
    }

    /// What both take together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            counters: self.counters + other.counters,
            rules: self.rules + other.rules,
            prefix_rules: self.prefix_rules + other.prefix_rules,
            sources: self.sources + other.sources,
        }
    }

    /// Refuses what doesn't fit into `room`.
    pub fn check(self, room: Self) -> Result<(), RoomError> {
        for (map, needed, capacity) in [
            ("counters", self.counters, room.counters),
            ("rules", self.rules, room.rules),
            ("prefix_rules", self.prefix_rules, room.prefix_rules),
            ("sources", self.sources, room.sources),
        ] {
            if needed > capacity {
                return Err(RoomError::Full {
                    map,
                    needed,
                    capacity,
                });
            }
        }
        Ok(())
    }
}

/// The blocks that map keys are made of.
pub(crate) const fn blocks(ports: PortRange) -> PortBlocks {
    PortBlocks::new(ports.first(), ports.last())
}

/// What there is no room for. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The rules need more room than the gate's maps have.
    #[error(
        "the rules need {needed} entries of the gate's map of {map} and it holds {capacity}; \
         name fewer addresses, or port ranges that begin and end at multiples of a power of two"
    )]
    Full {
        /// Name of the BPF map.
        map: &'static str,
        /// Entries the rule set needs.
        needed: usize,
        /// Entries the map can hold.
        capacity: usize,
    },
    /// There are more slaves than the gate's map has room for.
    #[error(
        "{needed} devices are slaves of VRFs, and a gate can know {capacity}; put some of them under one bridge or bond, and that into the VRF"
    )]
    ManySlaves {
        /// Slaves of all VRFs of the namespace.
        needed: usize,
        /// Entries the map can hold.
        capacity: usize,
    },
}
