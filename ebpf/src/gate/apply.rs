//! Changes the rules of a gate while it decides.

use vrfgate_core::RuleSet;

use super::Gate;
use crate::{
    Changes, Error, Needs, RoomError,
    edit::Edit,
    encode::Tables,
    error::map_error,
    slots::{Allocation, Slots},
};

/// What was changed, and what the maps hold now.
type Applied = (Changes, Tables);

impl Gate {
    /// Puts these rules into force, changing only what differs. On an error, what was in force stays.
    pub fn apply(&mut self, rules: RuleSet) -> Result<Changes, Error> {
        let set_before = self.rules.is_some();
        // Taken, and put back only when all went well: after an error, the next call reads the maps again.
        let former = (self.tables.take(), self.rules.take());
        let (changes, tables) = if let (Some(tables), Some(former)) = former {
            match self.edit(tables, &former, &rules)? {
                Ok(edited) => edited,
                Err(tables) => self.apply_in_steps(&tables, &rules)?,
            }
        } else {
            let tables = self.read_maps()?;
            self.apply_in_steps(&tables, &rules)?
        };
        let open = !self.ports.are_in_the_way();
        if set_before && open && self.sysctls == self.sysctls_for(&rules) {
            // If something else has changed them since, `keep` repairs and reports that.
            self.verify()?;
        } else {
            self.open_sysctls(&rules)?;
        }
        self.tables = Some(tables);
        self.rules = Some(rules);
        Ok(changes)
    }

    /// Goes from what the maps hold to these rules, in one step where counters suffice for the old rules and the new
    /// ones together. Where they don't, rules that aren't wanted any more go first.
    fn apply_in_steps(&mut self, current: &Tables, rules: &RuleSet) -> Result<Applied, Error> {
        let counters = self.attached.maps.counter_slots() as usize;
        match self.apply_all(current, rules) {
            Err(Error::Room(RoomError::Full {
                map: "counters", ..
            })) if Needs::of(rules).counters <= counters => {
                let kept = self.record.slots.those_known(rules);
                let (before, tables) = self.apply_all(current, &kept)?;
                let (after, tables) = self.apply_all(&tables, rules)?;
                let changes = Changes {
                    written: before.written + after.written,
                    removed: before.removed + after.removed,
                };
                Ok((changes, tables))
            }
            applied => applied,
        }
    }

    /// What the maps of this gate have room for.
    #[must_use]
    pub fn room(&self) -> Needs {
        self.attached.maps.room()
    }

    /// Changes what the maps hold to these rules, whatever they are.
    fn apply_all(&mut self, current: &Tables, rules: &RuleSet) -> Result<Applied, Error> {
        let mut allocation = Allocation::new(
            &self.record.slots,
            current.slots(),
            self.attached.maps.counter_slots(),
        );
        let target = Tables::encode(rules, self.record.former, &mut allocation)?;
        let (slots, fresh) = allocation.finish();
        self.attached.maps.check_room(&target)?;
        self.verify()?;
        self.tracker.watch(&self.netns, rules.slaves())?;

        // Names are known before the maps use their slots, and for as long as they do.
        self.save_slots(self.record.slots.union(&slots))?;
        let reset = self.attached.maps.reset_counters(&fresh);
        reset.map_err(|cause| map_error("changing", &self.netns, cause))?;
        let changes = self.transition(current, &target, current)?;
        self.save_slots(slots)?;
        Ok((changes, target))
    }

    /// Changes to these rules where only the content of a few differs from `former`; else returns the tables unchanged.
    fn edit(
        &mut self,
        mut tables: Tables,
        former: &RuleSet,
        rules: &RuleSet,
    ) -> Result<Result<Applied, Tables>, Error> {
        let Some(edit) = Edit::between(former, rules) else {
            return Ok(Err(tables));
        };
        let Some(parts) = edit.encode(&tables, rules) else {
            return Ok(Err(tables));
        };
        if !self.attached.maps.has_room_for(&tables, &parts.target) {
            return Ok(Err(tables));
        }
        self.verify()?;
        self.tracker.watch(&self.netns, rules.slaves())?;
        let changes = self.transition(&parts.current, &parts.target, &tables)?;
        parts.merge_into(&mut tables);
        Ok(Ok((changes, tables)))
    }

    fn read_maps(&self) -> Result<Tables, Error> {
        self.attached
            .maps
            .read()
            .map_err(|cause| map_error("reading", &self.netns, cause))
    }

    /// Changes the maps from `current` to `target`. If the kernel refuses, changes them back to `all`, their content
    /// before, of which `current` may be a part.
    ///
    /// The kernel may refuse that, too (no memory, say). The maps then hold parts of both, each of which was wanted at
    /// some time, and the next `apply` starts from there.
    fn transition(
        &mut self,
        current: &Tables,
        target: &Tables,
        all: &Tables,
    ) -> Result<Changes, Error> {
        let maps = &mut self.attached.maps;
        maps.transition(current, target)
            .inspect_err(|_| {
                let _ = maps
                    .read()
                    .and_then(|reached| maps.transition(&reached, all));
            })
            .map_err(|cause| map_error("changing", &self.netns, cause))
    }

    fn save_slots(&mut self, slots: Slots) -> Result<(), Error> {
        if self.record.slots == slots {
            return Ok(());
        }
        self.record.slots = slots;
        self.save_record()
    }
}
