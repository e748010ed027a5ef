//! Moves the maps from one content to another while packets are being decided. Owns the order of the steps.

use aya::maps::{MapError, lpm_trie::Key};
use vrfgate_abi::{RuleKey, VrfMarks, VrfPolicy};

use super::{Maps, Marks, PrefixRules, Rules, Slaves, Sources, Vrfs, absent_is_fine};
use crate::encode::{RulePrefix, SourcePrefix, Tables};

/// The value of an entry of the source map means nothing; its presence does.
const ALLOWED: u8 = 1;

/// How many entries an [`Maps::transition`] wrote and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries added, or given another value.
    pub written: usize,
    /// Entries removed.
    pub removed: usize,
}

impl Maps {
    /// Moves the maps from `current`, which they hold, to `target`.
    ///
    /// At no moment is a packet refused that both allow, nor one let in that neither allows: clients of a
    /// restricted rule come before the rule, rules before the block sizes they are found by, and everything
    /// new before anything old goes. Only where the two don't fit into the map together do old entries go
    /// first. A slave is in the map before its VRF is and until its VRF has gone, so that it is never more open.
    pub(crate) fn transition(
        &mut self,
        current: &Tables,
        target: &Tables,
    ) -> Result<Changes, MapError> {
        let gone = Gone {
            rules: missing(current.rules.keys(), |key| target.rules.contains_key(key)),
            prefix_rules: missing(current.prefix_rules.keys(), |key| {
                target.prefix_rules.contains_key(key)
            }),
            sources: missing(current.sources.iter(), |source| {
                target.sources.contains(source)
            }),
        };
        let mut changes = Changes::default();
        let crowded = gone.rules.len() + target.rules.len() > self.room.rules
            || gone.prefix_rules.len() + target.prefix_rules.len() > self.room.prefix_rules
            || gone.sources.len() + target.sources.len() > self.room.sources;
        if crowded {
            changes.removed += self.remove(&gone)?;
        }
        changes.written += self.add(current, target)?;
        let (widened, enslaved) = self.widen_policies(current, target)?;
        if !crowded {
            changes.removed += self.remove(&gone)?;
        }
        changes.removed += self.settle_policies(current, target, &widened)?;
        changes.written += widened.len() + enslaved;
        Ok(changes)
    }

    fn add(&mut self, current: &Tables, target: &Tables) -> Result<usize, MapError> {
        let mut written = 0;
        let mut sources = Sources::try_from(&mut self.sources)?;
        for source in &target.sources {
            if !current.sources.contains(source) {
                sources.insert(&lpm_key(source), ALLOWED, 0)?;
                written += 1;
            }
        }
        let mut rules = Rules::try_from(&mut self.rules)?;
        for (key, value) in &target.rules {
            if current.rules.get(key) != Some(value) {
                rules.insert(key, value, 0)?;
                written += 1;
            }
        }
        let mut prefix_rules = PrefixRules::try_from(&mut self.prefix_rules)?;
        for (key, value) in &target.prefix_rules {
            if current.prefix_rules.get(key) != Some(value) {
                prefix_rules.insert(&lpm_key(key), value, 0)?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// Gives each VRF its mark, its slaves and its new policy, but keeps the block sizes that old rules are still found
    /// by. Returns what it wrote of VRFs, and of how many slaves.
    fn widen_policies(
        &mut self,
        current: &Tables,
        target: &Tables,
    ) -> Result<(Vec<(u32, VrfPolicy)>, usize), MapError> {
        let mut all_marks = Marks::try_from(&mut self.vrf_marks)?;
        let mut marks = all_marks.get(&0, 0)?;
        let former = marks;
        for &ifindex in target.vrfs.keys().chain(target.slaves.keys()) {
            marks.mark(ifindex);
        }
        if marks != former {
            all_marks.set(0, marks, 0)?;
        }
        let mut held = Slaves::try_from(&mut self.slaves)?;
        let mut slaves = 0;
        for (slave, vrf) in &target.slaves {
            if current.slaves.get(slave) != Some(vrf) {
                held.insert(slave, vrf, 0)?;
                slaves += 1;
            }
        }

        let mut vrfs = Vrfs::try_from(&mut self.vrfs)?;
        let mut widened = Vec::new();
        for (&ifindex, policy) in &target.vrfs {
            let former = current.vrfs.get(&ifindex);
            let wide = VrfPolicy {
                tcp_blocks: policy.tcp_blocks | former.map_or(0, |former| former.tcp_blocks),
                udp_blocks: policy.udp_blocks | former.map_or(0, |former| former.udp_blocks),
                ..*policy
            };
            if former != Some(&wide) || wide != *policy {
                vrfs.insert(ifindex, wide, 0)?;
                widened.push((ifindex, wide));
            }
        }
        Ok((widened, slaves))
    }

    /// Takes away block sizes, VRFs and slaves that no rule needs any more. Returns how many VRFs and slaves went.
    fn settle_policies(
        &mut self,
        current: &Tables,
        target: &Tables,
        widened: &[(u32, VrfPolicy)],
    ) -> Result<usize, MapError> {
        let mut vrfs = Vrfs::try_from(&mut self.vrfs)?;
        for (ifindex, wide) in widened {
            if let Some(policy) = target.vrfs.get(ifindex).filter(|policy| *policy != wide) {
                vrfs.insert(ifindex, policy, 0)?;
            }
        }
        let gone: Vec<u32> = missing(current.vrfs.keys(), |vrf| target.vrfs.contains_key(vrf));
        for ifindex in &gone {
            absent_is_fine(vrfs.remove(ifindex))?;
        }
        let released = missing(current.slaves.keys(), |slave| {
            target.slaves.contains_key(slave)
        });
        let mut slaves = Slaves::try_from(&mut self.slaves)?;
        for slave in &released {
            absent_is_fine(slaves.remove(slave))?;
        }
        if !(gone.is_empty() && released.is_empty()) {
            // Of all that are left: a mark may be that of two.
            let mut marks = VrfMarks::default();
            for ifindex in vrfs.keys().chain(slaves.keys()) {
                marks.mark(ifindex?);
            }
            Marks::try_from(&mut self.vrf_marks)?.set(0, marks, 0)?;
        }
        Ok(gone.len() + released.len())
    }

    fn remove(&mut self, gone: &Gone) -> Result<usize, MapError> {
        let Gone {
            rules,
            prefix_rules,
            sources,
        } = gone;
        let mut held = Rules::try_from(&mut self.rules)?;
        for key in rules {
            absent_is_fine(held.remove(key))?;
        }
        let mut held = PrefixRules::try_from(&mut self.prefix_rules)?;
        for key in prefix_rules {
            absent_is_fine(held.remove(&lpm_key(key)))?;
        }
        let mut held = Sources::try_from(&mut self.sources)?;
        for source in sources {
            absent_is_fine(held.remove(&lpm_key(source)))?;
        }
        Ok(rules.len() + prefix_rules.len() + sources.len())
    }
}

/// Entries that a transition removes.
struct Gone {
    rules: Vec<RuleKey>,
    prefix_rules: Vec<RulePrefix>,
    sources: Vec<SourcePrefix>,
}

fn lpm_key<T: aya::Pod>(&(bits, data): &(u32, T)) -> Key<T> {
    Key::new(bits, data)
}

fn missing<'a, K: Copy + 'a>(
    keys: impl Iterator<Item = &'a K>,
    present: impl Fn(&K) -> bool,
) -> Vec<K> {
    keys.filter(|key| !present(key)).copied().collect()
}
