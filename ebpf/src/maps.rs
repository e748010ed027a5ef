//! The gate's maps in the kernel: reading them, and moving them from one content to another while packets
//! are being decided.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use aya::maps::{
    Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf,
    lpm_trie::Key,
};
use vrfgate_abi::{Counters, Event, PrefixRule, RuleKey, RuleValue, Source, VrfMarks, VrfPolicy};

use crate::{
    Needs, RuleError,
    encode::{RulePrefix, SourcePrefix, Tables},
    store::Pins,
};

/// Names of the maps, in the BPF object and as pins.
pub(crate) const VRF_MARKS: &str = "vrf_marks";
pub(crate) const VRFS: &str = "vrfs";
pub(crate) const SLAVES: &str = "slaves";
pub(crate) const RULES: &str = "rules";
pub(crate) const PREFIX_RULES: &str = "prefix_rules";
pub(crate) const SOURCES: &str = "sources";
pub(crate) const COUNTERS: &str = "counters";
pub(crate) const EVENTS: &str = "events";
/// The tracker's, pinned by each gate that uses it.
pub(crate) const LISTENERS: &str = "listeners";
/// Those that a gate shares with no other.
pub(crate) const OWN: [&str; 8] = [
    VRF_MARKS,
    VRFS,
    SLAVES,
    RULES,
    PREFIX_RULES,
    SOURCES,
    COUNTERS,
    EVENTS,
];
pub(crate) const ALL: [&str; 9] = [
    VRF_MARKS,
    VRFS,
    SLAVES,
    RULES,
    PREFIX_RULES,
    SOURCES,
    COUNTERS,
    EVENTS,
    LISTENERS,
];

/// The source map's value says nothing: being there is what counts.
const ALLOWED: u8 = 1;

/// Handles on the maps of one gate: one descriptor each, because a process may look after hundreds of gates. The
/// types are those by which a map is read and changed; a view of one costs nothing.
pub(crate) struct Maps {
    vrf_marks: Map,
    vrfs: Map,
    slaves: Map,
    rules: Map,
    prefix_rules: Map,
    sources: Map,
    counters: Map,
    room: Room,
}

type Marks<T> = Array<T, VrfMarks>;
type Vrfs<T> = HashMap<T, u32, VrfPolicy>;
type Slaves<T> = HashMap<T, u32, u32>;
type Rules<T> = HashMap<T, RuleKey, RuleValue>;
type PrefixRules<T> = LpmTrie<T, PrefixRule, RuleValue>;
type Sources<T> = LpmTrie<T, Source, u8>;
type Counts<T> = PerCpuArray<T, Counters>;

/// Entries each map can hold.
#[derive(Clone, Copy, Debug)]
struct Room {
    vrfs: usize,
    slaves: usize,
    rules: usize,
    prefix_rules: usize,
    sources: usize,
    counters: u32,
}

/// How many entries an [`Maps::transition`] wrote and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries added, or given another value.
    pub written: usize,
    /// Entries removed.
    pub removed: usize,
}

impl Maps {
    /// Handles on maps found by name: pinned ones, or those of an object just loaded.
    pub(crate) fn open(
        mut map: impl FnMut(&str) -> Result<Map, MapError>,
    ) -> Result<Self, MapError> {
        let vrfs = map(VRFS)?;
        let slaves = map(SLAVES)?;
        let rules = map(RULES)?;
        let prefix_rules = map(PREFIX_RULES)?;
        let sources = map(SOURCES)?;
        let vrf_marks = map(VRF_MARKS)?;
        let counters = map(COUNTERS)?;
        // A map of another kind is found here, and not when it is to be changed.
        Marks::try_from(&vrf_marks)?;
        Vrfs::try_from(&vrfs)?;
        Slaves::try_from(&slaves)?;
        Rules::try_from(&rules)?;
        PrefixRules::try_from(&prefix_rules)?;
        Sources::try_from(&sources)?;
        let room = Room {
            vrfs: capacity(&vrfs)?,
            slaves: capacity(&slaves)?,
            rules: capacity(&rules)?,
            prefix_rules: capacity(&prefix_rules)?,
            sources: capacity(&sources)?,
            counters: Counts::try_from(&counters)?.len(),
        };
        Ok(Self {
            vrf_marks,
            vrfs,
            slaves,
            rules,
            prefix_rules,
            sources,
            counters,
            room,
        })
    }

    /// Each map that is held here, with its name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let Self {
            vrf_marks,
            vrfs,
            slaves,
            rules,
            prefix_rules,
            sources,
            counters,
            room: _,
        } = self;
        [
            (VRF_MARKS, vrf_marks),
            (VRFS, vrfs),
            (SLAVES, slaves),
            (RULES, rules),
            (PREFIX_RULES, prefix_rules),
            (SOURCES, sources),
            (COUNTERS, counters),
        ]
        .into_iter()
        .filter_map(|(name, map)| match map {
            Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data) | Map::PerCpuArray(data) => {
                Some((name, data.fd().as_fd()))
            }
            _ => None,
        })
    }

    /// Handles on pinned maps.
    pub(crate) fn open_pinned(pins: &Pins) -> Result<Self, MapError> {
        Self::open(|name| pinned(&pins.map(name)))
    }

    /// Number of counter slots.
    pub(crate) fn counter_slots(&self) -> u32 {
        self.room.counters
    }

    /// Entries that the maps can hold.
    pub(crate) fn room(&self) -> Needs {
        let Room {
            vrfs: _,
            slaves: _,
            rules,
            prefix_rules,
            sources,
            counters: _,
        } = self.room;
        Needs {
            counters: self.counter_slots() as usize,
            rules,
            prefix_rules,
            sources,
        }
    }

    /// Everything that decides packets now.
    pub(crate) fn read(&self) -> Result<Tables, MapError> {
        Ok(Tables {
            vrfs: Vrfs::try_from(&self.vrfs)?
                .iter()
                .collect::<Result<_, _>>()?,
            slaves: Slaves::try_from(&self.slaves)?
                .iter()
                .collect::<Result<_, _>>()?,
            rules: Rules::try_from(&self.rules)?
                .iter()
                .collect::<Result<_, _>>()?,
            prefix_rules: PrefixRules::try_from(&self.prefix_rules)?
                .iter()
                .map(|entry| entry.map(|(key, value)| ((key.prefix_len(), key.data()), value)))
                .collect::<Result<_, _>>()?,
            sources: Sources::try_from(&self.sources)?
                .keys()
                .map(|key| key.map(|key| (key.prefix_len(), key.data())))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Ifindex and counter slot of each VRF.
    pub(crate) fn vrf_slots(&self) -> Result<Vec<(u32, u32)>, MapError> {
        Vrfs::try_from(&self.vrfs)?
            .iter()
            .map(|entry| entry.map(|(ifindex, policy)| (ifindex, policy.counter)))
            .collect()
    }

    /// One slot, summed over all CPUs.
    pub(crate) fn counters(&self, slot: u32) -> Result<Counters, MapError> {
        let per_cpu = Counts::try_from(&self.counters)?.get(&slot, 0)?;
        Ok(per_cpu
            .iter()
            .fold(Counters::default(), |sum, cpu| Counters {
                passed: sum.passed + cpu.passed,
                refused: sum.refused + cpu.refused,
                would_refuse: sum.would_refuse + cpu.would_refuse,
            }))
    }

    /// Sets slots to zero on all CPUs.
    pub(crate) fn reset_counters(&mut self, slots: &[u32]) -> Result<(), MapError> {
        if slots.is_empty() {
            return Ok(());
        }
        // Asked for once: it is in a file, and there may be thousands of slots.
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let mut counters = Counts::try_from(&mut self.counters)?;
        for &slot in slots {
            let zeroes = PerCpuValues::try_from(vec![Counters::default(); cpus])?;
            counters.set(slot, zeroes, 0)?;
        }
        Ok(())
    }

    /// Refuses tables that don't fit, before anything is changed.
    pub(crate) fn check_room(&self, tables: &Tables) -> Result<(), RuleError> {
        let Room {
            vrfs,
            slaves,
            rules,
            prefix_rules,
            sources,
            counters: _,
        } = self.room;
        if tables.slaves.len() > slaves {
            return Err(RuleError::ManySlaves {
                needed: tables.slaves.len(),
                capacity: slaves,
            });
        }
        for (map, needed, capacity) in [
            (VRFS, tables.vrfs.len(), vrfs),
            (RULES, tables.rules.len(), rules),
            (PREFIX_RULES, tables.prefix_rules.len(), prefix_rules),
            (SOURCES, tables.sources.len(), sources),
        ] {
            if needed > capacity {
                return Err(RuleError::Full {
                    map,
                    needed,
                    capacity,
                });
            }
        }
        Ok(())
    }

    /// Whether there is room for all of `more` beside what the maps hold.
    pub(crate) fn has_room_for(&self, current: &Tables, more: &Tables) -> bool {
        current.slaves.len() + more.slaves.len() <= self.room.slaves
            && current.rules.len() + more.rules.len() <= self.room.rules
            && current.prefix_rules.len() + more.prefix_rules.len() <= self.room.prefix_rules
            && current.sources.len() + more.sources.len() <= self.room.sources
    }

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

/// The refusals not yet read from a gate's ring buffer. Each is handed to one reader only.
pub struct Events {
    buffer: RingBuf<MapData>,
    /// Kernel-wide number of the map.
    id: u32,
}

impl Events {
    pub(crate) fn open(pins: &Pins) -> Result<Self, MapError> {
        let map = MapData::from_pin(pins.map(EVENTS))?;
        Ok(Self {
            id: map.info()?.id(),
            buffer: Map::from_map_data(map)?.try_into()?,
        })
    }

    /// Whether both read one buffer.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let record = self.buffer.next()?;
            if let Some(event) = Event::from_bytes(&record) {
                return Some(event);
            }
        }
    }
}

pub(crate) fn pinned(path: &Path) -> Result<Map, MapError> {
    Map::from_map_data(MapData::from_pin(path)?)
}

fn capacity(map: &Map) -> Result<usize, MapError> {
    let data: &MapData = match map {
        Map::HashMap(data) | Map::LpmTrie(data) => data,
        _ => {
            return Err(MapError::IoError(io::Error::other(
                "unexpected type of map",
            )));
        }
    };
    Ok(data.info()?.max_entries() as usize)
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

/// An entry that somebody else removed first is as gone as it should be.
pub(crate) fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        result => result,
    }
}
