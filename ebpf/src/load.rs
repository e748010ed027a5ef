//! Brings an object into the kernel, the gate's or the tracker's: its types, its maps, and then its programs one by one.
//!
//! aya's loader reads and parses the types of the whole kernel before it looks at an object, some megabytes that
//! these have no use for: most of what a pod that gets a gate would wait for, and of what an agent would hold. So the
//! steps of that loader are taken here, with the parts that aya and aya-obj offer.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    EbpfError,
    maps::{MapData, MapError},
    programs::{ProgramError, SkLookup},
    sys::SyscallError,
};
use aya_obj::{
    EbpfSectionKind, Map, Object, VerifierLog,
    btf::{BtfError, BtfFeatures},
};

use vrfgate_abi::SocketOffsets;

use crate::{
    Capacity, Error, NetnsId,
    layout::{COUNTERS, EVENTS, LISTENERS, OWN_MAPS, RULES, SLAVES, SOURCES},
    object::OBJECT,
    pins::Pins,
    sys::{self, Image, Kind},
};

/// What BTF may hold that is loaded into the kernel: everything that 5.17 knows, the oldest one that the gate runs
/// on. 64-bit enumerations came later, and are replaced by integers.
const BTF: BtfFeatures = BtfFeatures::new(true, true, true, true, true, true, true, false);

/// The maps of an object in the kernel, and its programs, ready to follow.
pub(crate) struct Loaded {
    object: Object,
    btf: OwnedFd,
    maps: HashMap<String, OwnedFd>,
}

impl Loaded {
    /// Makes the maps of a namespace's gate. The tracker's map is used as it is pinned; with `pinned`, so are all
    /// others.
    pub(crate) fn new(
        capacity: &Capacity,
        netns: NetnsId,
        listeners: &Path,
        pinned: Option<&Pins>,
    ) -> Result<Self, Error> {
        let size = |name: &str| match name {
            SLAVES => Some(capacity.slaves),
            RULES => Some(capacity.rules),
            SOURCES => Some(capacity.sources),
            COUNTERS => Some(capacity.counters),
            EVENTS => Some(capacity.events),
            _ => None,
        };
        let pin = |name: &str| match pinned {
            _ if name == LISTENERS => Some(listeners.to_owned()),
            Some(pins) if OWN_MAPS.contains(&name) => Some(pins.map(name)),
            _ => None,
        };
        let number = netns.0.to_ne_bytes();
        load(OBJECT, [("NETNS", number.as_slice())], size, pin).map_err(Error::Load)
    }

    /// Makes the maps of a tracker, but for those that are pinned already, and pins them. `offsets` are what its programs
    /// take the kernel to be like.
    pub(crate) fn tracker(
        object: &[u8],
        offsets: &SocketOffsets,
        pin: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, Error> {
        let offsets = offsets.to_bytes();
        load(object, [("OFFSETS", offsets.as_slice())], |_| None, pin).map_err(Error::Load)
    }

    /// One of the maps.
    pub(crate) fn map(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.maps.get(name).map(AsFd::as_fd)
    }

    /// Loads one of the programs, and pins it.
    pub(crate) fn program(&self, name: &str, pin: &Path) -> Result<SkLookup, ProgramError> {
        let program = self.load_program(name, Kind::SkLookup)?;
        sys::pin(program.as_fd(), pin).map_err(|io_error| SyscallError {
            call: "bpf_obj_pin",
            io_error,
        })?;
        SkLookup::from_pin(pin)
    }

    /// Loads one of the programs.
    pub(crate) fn load_program(&self, name: &str, kind: Kind) -> Result<OwnedFd, ProgramError> {
        let program = self
            .object
            .programs
            .get(name)
            .ok_or(ProgramError::NotLoaded)?;
        let function = self
            .object
            .functions
            .get(&program.function_key())
            .ok_or(ProgramError::NotLoaded)?;
        let image = Image {
            kind,
            name,
            license: &program.license,
            function,
            btf: self.btf.as_fd(),
        };
        sys::load_program(&image).map_err(|(io_error, log)| {
            let verifier_log = VerifierLog::new(log);
            ProgramError::LoadError {
                io_error,
                verifier_log,
            }
        })
    }
}

/// Loads types and maps of an object into the kernel. `globals` are its constants, by name; `size` may say how many
/// entries a map is to hold; a map that `pin` has a place for is the one that is pinned there, or is pinned there.
fn load(
    object: &[u8],
    globals: [(&str, &[u8]); 1],
    size: impl Fn(&str) -> Option<u32>,
    pin: impl Fn(&str) -> Option<PathBuf>,
) -> Result<Loaded, EbpfError> {
    let mut object = Object::parse(object)?;
    object.patch_map_data(HashMap::from(
        globals.map(|(name, value)| (name, (value, true))),
    ))?;
    let types = object
        .fixup_and_sanitize_btf(&BTF)?
        .ok_or(EbpfError::NoBTF)?
        .to_bytes();
    let btf = sys::load_btf(&types).map_err(|io_error| BtfError::LoadError {
        io_error,
        verifier_log: VerifierLog::new(String::new()),
    })?;

    let mut maps = HashMap::new();
    let mut known = Vec::new();
    for (name, mut map) in object.maps.drain() {
        if let Some(entries) = size(&name) {
            map.set_max_entries(entries);
        }
        let fd = match pin(&name) {
            Some(pin) => open_or_make(&pin, &name, &map, btf.as_fd())?,
            None => make(&name, &map, btf.as_fd())?,
        };
        known.push((name.clone(), fd.as_raw_fd(), map));
        maps.insert(name, fd);
    }

    let text = object.functions.keys().map(|(section, _)| *section);
    let text = text.collect();
    let known = known
        .iter()
        .map(|(name, fd, map)| (name.as_str(), *fd, map));
    object.relocate_maps(known, &text)?;
    object.relocate_calls(&text)?;
    Ok(Loaded { object, btf, maps })
}

/// The map that is pinned; where none is, a new one, which is pinned there.
fn open_or_make(
    pin: &Path,
    name: &str,
    map: &Map,
    btf: BorrowedFd<'_>,
) -> Result<OwnedFd, MapError> {
    if fs::exists(pin)? {
        return Ok(sys::open_pin(pin)?);
    }
    let fd = make(name, map, btf)?;
    sys::pin(fd.as_fd(), pin)?;
    Ok(fd)
}

fn make(name: &str, map: &Map, btf: BorrowedFd<'_>) -> Result<OwnedFd, MapError> {
    let made = MapData::create(map.clone(), name, Some(btf))?;
    let fd = made.fd().as_fd().try_clone_to_owned()?;
    if !map.data().is_empty() {
        sys::set_only_value(fd.as_fd(), map.data())?;
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        sys::freeze(fd.as_fd())?;
    }
    Ok(fd)
}
