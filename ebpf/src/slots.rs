//! Which slot of the `counters` map belongs to which VRF or rule. Kept in the record, because BPF maps hold
//! no names.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use vrfgate_core::RuleSet;

use crate::RoomError;

/// What a slot counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// Name of the VRF device.
    pub(crate) vrf: String,
    /// Name of a rule; none for the VRF's own slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
}

/// Owners by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Slots(BTreeMap<u32, Owner>);

impl Slots {
    /// The VRF a slot counts for; its number when the record was lost.
    pub(crate) fn vrf_name(&self, slot: u32) -> String {
        self.0
            .get(&slot)
            .map_or_else(|| format!("#{slot}"), |owner| owner.vrf.clone())
    }

    /// The rule a slot counts for; its number when the record was lost.
    pub(crate) fn rule_name(&self, slot: u32) -> String {
        self.0
            .get(&slot)
            .and_then(|owner| owner.rule.clone())
            .unwrap_or_else(|| format!("#{slot}"))
    }

    /// Every VRF, with those of its rules that have a slot already.
    pub(crate) fn those_known(&self, rules: &RuleSet) -> RuleSet {
        let owners: HashSet<&Owner> = self.0.values().collect();
        rules.only(|vrf, rule| {
            owners.contains(&Owner {
                vrf: vrf.to_owned(),
                rule: Some(rule.name.clone()),
            })
        })
    }

    /// Slots by owner.
    pub(crate) fn by_owner(&self) -> HashMap<&Owner, u32> {
        self.0.iter().map(|(&slot, owner)| (owner, slot)).collect()
    }

    /// Both, where `self` and `other` agree or only one has an owner; `other` wins otherwise.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut owners = self.0.clone();
        owners.extend(other.0.clone());
        Self(owners)
    }
}

/// Hands out slots for a new set of rules.
///
/// Owners keep the slot they had. A new owner gets one that neither the former set nor the new one uses, so
/// that while both are in the maps no packet is counted, or allowed, for the wrong rule.
pub(crate) struct Allocation<'a> {
    former: HashMap<&'a Owner, u32>,
    busy: HashSet<u32>,
    next: u32,
    capacity: u32,
    taken: BTreeMap<u32, Owner>,
    fresh: Vec<u32>,
}

impl<'a> Allocation<'a> {
    /// Starts from the slots in force, and from every slot seen in the maps whether it has an owner or not.
    pub(crate) fn new(
        former: &'a Slots,
        in_maps: impl Iterator<Item = u32>,
        capacity: u32,
    ) -> Self {
        Self {
            former: former.by_owner(),
            busy: former.0.keys().copied().chain(in_maps).collect(),
            next: 0,
            capacity,
            taken: BTreeMap::new(),
            fresh: Vec::new(),
        }
    }

    /// The slot of a VRF, or of one of its rules. Each is asked for once: names are unique.
    pub(crate) fn take(&mut self, vrf: &str, rule: Option<&str>) -> Result<u32, RoomError> {
        let owner = Owner {
            vrf: vrf.to_owned(),
            rule: rule.map(str::to_owned),
        };
        let slot = match self.former.get(&owner) {
            Some(&slot) => slot,
            None => self.unused()?,
        };
        self.taken.insert(slot, owner);
        Ok(slot)
    }

    fn unused(&mut self) -> Result<u32, RoomError> {
        while self.busy.contains(&self.next) {
            self.next += 1;
        }
        if self.next >= self.capacity {
            return Err(RoomError::Full {
                map: "counters",
                needed: self.busy.len() + self.fresh.len() + 1,
                capacity: self.capacity as usize,
            });
        }
        let slot = self.next;
        self.next += 1;
        self.fresh.push(slot);
        Ok(slot)
    }

    /// The new owners, and the slots that had none before and must begin at zero.
    pub(crate) fn finish(self) -> (Slots, Vec<u32>) {
        (Slots(self.taken), self.fresh)
    }
}
