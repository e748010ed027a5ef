//! A gate as the kernel holds it: link, program and maps; how they are made, found again and checked.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf,
    maps::MapError,
    programs::{ProgramError, links::FdLink},
};

use vrfgate_abi::LAYOUT;

use crate::{
    Capacity, Error, Netns, RuleSet, TestPacket, TestRun,
    encode::Tables,
    error::{Doing, causes},
    maps::{self, Maps},
    object,
    record::Record,
    slots::Allocation,
    store::{Pins, is_older, layout_name, restrict},
    sys,
};

/// Handles on what the kernel holds. The link's descriptor keeps the gate attached even if somebody removes
/// the pins while we live.
pub(crate) struct Attached {
    link: OwnedFd,
    program: OwnedFd,
    pub(crate) maps: Maps,
    /// Every map by name, those too that only the program uses, so that all can be pinned again.
    held: Vec<(&'static str, OwnedFd)>,
}

impl Attached {
    /// What is pinned, if it is there and in force.
    pub(crate) fn open(pins: &Pins, netns: &Netns) -> Result<Option<Self>, Error> {
        let looking = || format!("looking at {}", pins.directory().display());
        if !pins.exist().doing(looking)? {
            return Ok(None);
        }
        let not_in_force = |why: String| Error::NotInForce {
            netns: netns.to_string(),
            why,
        };
        let link = match sys::open_pin(&pins.link()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_in_force("the pinned link is missing".into()));
            }
            link => link.doing(|| format!("opening {}", pins.link().display()))?,
        };
        // A pin outlives its namespace; then the link says 0, as it does when it was detached.
        if sys::link_info(link.as_fd()).doing(looking)?.netns == 0 {
            return Err(not_in_force(
                "its link has been detached, or is of a namespace that is gone".into(),
            ));
        }
        let known = layout_name(LAYOUT);
        match pins.layouts().doing(looking)?.as_slice() {
            [found] if *found == known => {}
            [found] if is_older(found) => {
                return Err(Error::OldLayout {
                    directory: pins.directory().to_owned(),
                    found: found.clone(),
                });
            }
            found => {
                return Err(Error::Layout {
                    directory: pins.directory().to_owned(),
                    found: found.join(", "),
                    known,
                });
            }
        }
        if let Some(missing) = pins.missing().doing(looking)? {
            return Err(not_in_force(format!("{} is missing", missing.display())));
        }
        let program = sys::open_pin(&pins.program())
            .doing(|| format!("opening {}", pins.program().display()))?;
        let maps = Maps::open_pinned(pins).map_err(|cause| map_error("opening", netns, cause))?;
        let attached = Self {
            link,
            program,
            maps,
            held: hold(pins).doing(looking)?,
        };
        attached.verify(netns)?;
        Ok(Some(attached))
    }

    /// Whether the kernel runs our program, by our link, in this namespace.
    pub(crate) fn verify(&self, netns: &Netns) -> Result<(), Error> {
        let asking = || format!("asking the kernel about the gate of {netns}");
        let link = sys::link_info(self.link.as_fd()).doing(asking)?;
        let program = sys::program_id(self.program.as_fd()).doing(asking)?;
        let running = sys::programs_of(netns.as_fd()).doing(asking)?;
        let why = if link.netns != netns.id().0 {
            "its link has been detached"
        } else if link.program != program {
            "its link runs another program"
        } else if !running.contains(&program) {
            "the kernel doesn't list its program"
        } else {
            return Ok(());
        };
        Err(Error::NotInForce {
            netns: netns.to_string(),
            why: why.into(),
        })
    }

    /// Pins everything anew, in the place of what is left of the pins.
    pub(crate) fn pin_again(&self, pins: &Pins) -> io::Result<()> {
        let staging = pins.stage()?;
        let maps = self.held.iter().map(|(name, map)| (staging.map(name), map));
        let others = [
            (staging.program(), &self.program),
            (staging.link(), &self.link),
        ];
        for (path, object) in maps.chain(others) {
            sys::pin(object.as_fd(), &path)?;
            restrict(&path)?;
        }
        if pins.exist()? {
            pins.replace(&staging)?;
        } else {
            pins.publish(staging)?;
        }
        pins.sweep()
    }

    /// Kernel-wide number of the program.
    pub(crate) fn program_id(&self) -> io::Result<u32> {
        sys::program_id(self.program.as_fd())
    }

    /// One run of the program on a made-up packet.
    pub(crate) fn test_run(&self, packet: &TestPacket, repeat: u32) -> io::Result<TestRun> {
        sys::test_run(self.program.as_fd(), packet, repeat)
    }
}

/// Loads, fills, attaches, verifies and pins a gate, and returns it with its pins, which don't show yet. The
/// sysctls are still as they were. Whatever fails, or kills us, until the pins are published leaves nothing
/// attached but what [`Pins::sweep`] removes.
pub(crate) fn build(
    pins: &Pins,
    netns: &Netns,
    rules: &RuleSet,
    capacity: &Capacity,
    listeners: &Path,
    record: &mut Record,
) -> Result<(Attached, Tables, Pins), Error> {
    let object = object::load(capacity, netns.id(), listeners, None)?;
    let (mut object, mut maps, staging) = stage(pins, netns, object)?;
    let mut allocation = Allocation::new(&record.slots, std::iter::empty(), maps.counter_slots());
    let tables = Tables::encode(rules, record.former, &mut allocation)?;
    let (slots, _) = allocation.finish();
    record.slots = slots;
    maps.check_room(&tables)?;
    maps.transition(&Tables::default(), &tables)
        .map_err(|cause| map_error("filling", netns, cause))?;
    let attached = attach(netns, &mut object, maps, pins, &staging)?;
    Ok((attached, tables, staging))
}

/// As [`build`], around the maps of the gate that is there. Until the one or the other is gone, both decide,
/// and agree.
pub(crate) fn rebuild(
    pins: &Pins,
    netns: &Netns,
    listeners: &Path,
) -> Result<(Attached, Pins), Error> {
    let object = object::load(&Capacity::default(), netns.id(), listeners, Some(pins))?;
    let (mut object, maps, staging) = stage(pins, netns, object)?;
    let attached = attach(netns, &mut object, maps, pins, &staging)?;
    Ok((attached, staging))
}

/// Pins an object's maps where they don't show yet.
fn stage(pins: &Pins, netns: &Netns, object: Ebpf) -> Result<(Ebpf, Maps, Pins), Error> {
    let staging = pins
        .stage()
        .doing(|| format!("making {}", pins.directory().display()))?;
    for name in maps::ALL {
        let map = object
            .map(name)
            .ok_or_else(|| pinning(pins, format!("the object has no map {name}")))?;
        map.pin(staging.map(name))
            .map_err(|error| pinning(pins, causes(&error)))?;
        restrict(&staging.map(name))
            .doing(|| format!("restricting {}", staging.map(name).display()))?;
    }
    let maps = Maps::open_pinned(&staging).map_err(|cause| map_error("opening", netns, cause))?;
    Ok((object, maps, staging))
}

/// Attaches an object's program, beside whatever is attached already.
fn attach(
    netns: &Netns,
    object: &mut Ebpf,
    maps: Maps,
    pins: &Pins,
    staging: &Pins,
) -> Result<Attached, Error> {
    let program_error = |cause: ProgramError| Error::Program {
        netns: netns.to_string(),
        cause,
    };
    let program = object::program(object).map_err(program_error)?;
    let link = program
        .attach(netns)
        .and_then(|id| program.take_link(id))
        .map_err(program_error)?;
    program
        .pin(staging.program())
        .map_err(|error| pinning(pins, causes(&error)))?;
    let link = FdLink::from(link)
        .pin(staging.link())
        .map_err(|error| pinning(pins, causes(&error)))?;
    for path in [staging.program(), staging.link()] {
        restrict(&path).doing(|| format!("restricting {}", path.display()))?;
    }
    let attached = Attached {
        link: sys::open_pin(&staging.link())
            .doing(|| format!("opening {}", staging.link().display()))?,
        program: sys::open_pin(&staging.program())
            .doing(|| format!("opening {}", staging.program().display()))?,
        maps,
        held: hold(staging).doing(|| format!("opening {}", staging.directory().display()))?,
    };
    drop(link);
    attached.verify(netns)?;
    Ok(attached)
}

/// Opens every pinned map.
fn hold(pins: &Pins) -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let open = |name| Ok((name, sys::open_pin(&pins.map(name))?));
    maps::ALL.into_iter().map(open).collect()
}

fn pinning(pins: &Pins, error: String) -> Error {
    Error::Io {
        doing: format!("pinning the gate at {}", pins.directory().display()),
        cause: io::Error::other(error),
    }
}

pub(crate) fn map_error(doing: &'static str, netns: &Netns, cause: MapError) -> Error {
    Error::Maps {
        doing,
        netns: netns.to_string(),
        cause,
    }
}
