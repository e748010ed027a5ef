//! The gate's maps in the kernel: handles on them, what they hold, and what they have room for.

mod transition;

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use vrfgate_abi::{Counters, PrefixRule, RuleKey, RuleValue, Source, VrfMarks, VrfPolicy};

pub use self::transition::Changes;
use crate::{
    Needs, RoomError,
    encode::Tables,
    layout::{COUNTERS, PREFIX_RULES, RULES, SLAVES, SOURCES, VRF_MARKS, VRFS},
    pins::Pins,
};

/// Handles on the maps of one gate: one descriptor each, because a process may manage hundreds of gates. The
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
    pub(crate) fn check_room(&self, tables: &Tables) -> Result<(), RoomError> {
        let Room {
            vrfs,
            slaves,
            rules,
            prefix_rules,
            sources,
            counters: _,
        } = self.room;
        if tables.slaves.len() > slaves {
            return Err(RoomError::ManySlaves {
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
                return Err(RoomError::Full {
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

/// It is no error that another program removed the entry first.
pub(crate) fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        result => result,
    }
}
