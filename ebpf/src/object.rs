//! The BPF object, compiled in, and how it becomes a program with maps in the kernel.

use std::path::Path;

use aya::{Ebpf, EbpfLoader, programs::SkLookup};

use crate::{Error, NetnsId, store::Pins};

/// Chosen by build.rs: the committed one, made by `make object`, so that building needs no BPF toolchain.
const OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/vrfgate.bpf.o"));

/// Names of the two programs in the object.
pub(crate) const GATE: &str = "vrfgate";
pub(crate) const GUARD: &str = "vrfgate_guard";

/// How much the maps of one gate can hold. Memory is taken as entries come, except for counters
/// (24 bytes a slot and possible CPU) and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Entries of `rules`: one for each local address and block of ports.
    pub rules: u32,
    /// Entries of `sources`: one for each source prefix of each restricted rule.
    pub sources: u32,
    /// Slots of `counters`: one a rule and one a VRF.
    pub counters: u32,
    /// Bytes of the ring buffer of refusals; a power of two, and a multiple of the page size.
    pub events: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            rules: 131_072,
            sources: 65_536,
            counters: 1024,
            events: 65_536,
        }
    }
}

/// Which object this is: two builds of vrfgate with the same number have the same program.
pub(crate) const BUILD: u64 = fingerprint(OBJECT);

/// 64-bit FNV-1a.
pub(crate) const fn fingerprint(object: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < object.len() {
        // A lossless `into` is no constant function.
        hash = (hash ^ object[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

/// Loads the object's maps for a namespace's gate; its programs follow with [`program`]. The tracker's map is
/// used as it is pinned; with `pinned`, so are all others.
pub(crate) fn load(
    capacity: &Capacity,
    netns: NetnsId,
    listeners: &Path,
    pinned: Option<&Pins>,
) -> Result<Ebpf, Error> {
    let Capacity {
        rules,
        sources,
        counters,
        events,
    } = *capacity;
    let mut loader = EbpfLoader::new();
    if let Some(pins) = pinned {
        for name in crate::maps::OWN {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    loader
        .map_pin_path(crate::maps::LISTENERS, listeners)
        .override_global("NETNS", &netns.0, true)
        // The program follows no kernel structure, so the kernel's own types are of no use to it.
        .btf(None)
        .map_max_entries(crate::maps::RULES, rules)
        .map_max_entries(crate::maps::SOURCES, sources)
        .map_max_entries(crate::maps::COUNTERS, counters)
        .map_max_entries(crate::maps::EVENTS, events)
        .load(OBJECT)
        .map_err(Error::Load)
}

/// A program of a loaded object, in the kernel.
pub(crate) fn program<'a>(
    object: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SkLookup, aya::programs::ProgramError> {
    let program: &mut SkLookup = object
        .program_mut(name)
        .ok_or(aya::programs::ProgramError::NotLoaded)?
        .try_into()?;
    program.load()?;
    Ok(program)
}
