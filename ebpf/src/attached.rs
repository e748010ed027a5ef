//! A gate as the kernel holds it: two attached programs and their maps; how they are made, found again and
//! checked.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use vrfgate_abi::LAYOUT;
use vrfgate_core::RuleSet;
use vrfgate_machine::{is_shortage, restrict};

use crate::{
    Capacity, Error, Netns,
    attachment::Attachment,
    encode::Tables,
    error::{Doing, map_error},
    layout::{self, EVENTS, LISTENERS, is_older, layout_name},
    load::Loaded,
    maps::Maps,
    object,
    pins::Pins,
    record::Record,
    slots::Allocation,
    sys,
};

/// Handles on what the kernel holds.
pub(crate) struct Attached {
    pub(crate) gate: Attachment,
    /// Decides where the gate doesn't: both links must be detached before packets get past.
    pub(crate) guard: Attachment,
    pub(crate) maps: Maps,
    /// The maps by name that only the program uses, so that all can be pinned again.
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
        let known = layout_name(LAYOUT);
        match pins.layouts().doing(looking)?.as_slice() {
            [found] if *found == known => {}
            [found] if is_older(found) => {
                // All that is known of an older gate: whether its link, which every layout has, is attached.
                let link =
                    sys::open_pin(&pins.gate().link).and_then(|link| sys::link_info(link.as_fd()));
                return Err(match link {
                    Ok(link) if link.netns == netns.id().0 => Error::OldLayout {
                        directory: pins.directory().to_owned(),
                        found: found.clone(),
                    },
                    Ok(_) => not_in_force("its link has been detached".into()),
                    // The gate may be in force all the same.
                    Err(cause) if is_shortage(&cause) => Error::Io {
                        doing: format!("opening {}", pins.gate().link.display()),
                        cause,
                    },
                    Err(error) => not_in_force(format!("opening its link: {error}")),
                });
            }
            [] => return Err(not_in_force("its maps are missing".into())),
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
        let attached = Self {
            gate: Attachment::open(&pins.gate())?,
            guard: Attachment::open(&pins.guard())?,
            maps: Maps::open_pinned(pins).map_err(|cause| map_error("opening", netns, cause))?,
            held: hold(pins).doing(looking)?,
        };
        attached.verify(netns)?;
        Ok(Some(attached))
    }

    /// Whether the kernel runs the gate or its guard in this namespace.
    pub(crate) fn verify(&self, netns: &Netns) -> Result<(), Error> {
        let [gate, guard] = self.faults(netns)?;
        match gate.filter(|_| guard.is_some()) {
            None => Ok(()),
            Some(why) => Err(Error::NotInForce {
                netns: netns.to_string(),
                why: why.into(),
            }),
        }
    }

    /// Whether the kernel runs both.
    pub(crate) fn is_whole(&self, netns: &Netns) -> Result<bool, Error> {
        Ok(self.faults(netns)?.iter().all(Option::is_none))
    }

    fn faults(&self, netns: &Netns) -> Result<[Option<&'static str>; 2], Error> {
        let ask = || -> io::Result<_> {
            let running = sys::programs_of(netns.as_fd())?;
            Ok([
                self.gate.fault(netns, &running)?,
                self.guard.fault(netns, &running)?,
            ])
        };
        ask().doing(|| format!("asking the kernel about the gate of {netns}"))
    }

    /// Pins everything again, and replaces what is left of the pins.
    pub(crate) fn pin_again(&self, pins: &Pins) -> io::Result<()> {
        let staging = pins.stage()?;
        let held = self.held.iter().map(|(name, map)| (*name, map.as_fd()));
        for (name, map) in self.maps.all().chain(held) {
            let path = staging.map(name);
            sys::pin(map, &path)?;
            restrict(&path)?;
        }
        self.gate.pin(&staging.gate())?;
        self.guard.pin(&staging.guard())?;
        if pins.exist()? {
            pins.replace(&staging)?;
        } else {
            pins.publish(staging)?;
        }
        pins.sweep()
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
    let object = Loaded::new(capacity, netns.id(), listeners, None)?;
    let (object, mut maps, staging) = stage(pins, netns, object)?;
    let mut allocation = Allocation::new(&record.slots, std::iter::empty(), maps.counter_slots());
    let tables = Tables::encode(rules, record.former, &mut allocation)?;
    let (slots, _) = allocation.finish();
    record.slots = slots;
    maps.check_room(&tables)?;
    maps.transition(&Tables::default(), &tables)
        .map_err(|cause| map_error("filling", netns, cause))?;
    let attached = attach(netns, &object, maps, &staging)?;
    Ok((attached, tables, staging))
}

/// As [`build`], around the maps of the gate that is there. Until the one or the other is gone, both decide,
/// and agree.
pub(crate) fn rebuild(
    pins: &Pins,
    netns: &Netns,
    listeners: &Path,
) -> Result<(Attached, Pins), Error> {
    let object = Loaded::new(&Capacity::default(), netns.id(), listeners, Some(pins))?;
    let (object, maps, staging) = stage(pins, netns, object)?;
    let attached = attach(netns, &object, maps, &staging)?;
    Ok((attached, staging))
}

/// Pins an object's maps where they don't show yet.
fn stage(pins: &Pins, netns: &Netns, object: Loaded) -> Result<(Loaded, Maps, Pins), Error> {
    let staging = pins
        .stage()
        .doing(|| format!("making {}", pins.directory().display()))?;
    for name in layout::maps() {
        let pinning = || format!("pinning the gate at {}", pins.directory().display());
        let lacking = || io::Error::other(format!("the object has no map {name}"));
        object
            .map(name)
            .ok_or_else(lacking)
            .and_then(|map| sys::pin(map, &staging.map(name)))
            .doing(pinning)?;
        restrict(&staging.map(name))
            .doing(|| format!("restricting {}", staging.map(name).display()))?;
    }
    let maps = Maps::open_pinned(&staging).map_err(|cause| map_error("opening", netns, cause))?;
    Ok((object, maps, staging))
}

/// Attaches an object's programs, after whatever is attached already. The guard comes last: it asks whether the
/// gate has decided.
fn attach(netns: &Netns, object: &Loaded, maps: Maps, staging: &Pins) -> Result<Attached, Error> {
    let attached = Attached {
        gate: Attachment::make(object, object::GATE, netns, &staging.gate())?,
        guard: Attachment::make(object, object::GUARD, netns, &staging.guard())?,
        maps,
        held: hold(staging).doing(|| format!("opening {}", staging.directory().display()))?,
    };
    attached.verify(netns)?;
    Ok(attached)
}

/// Opens the pinned maps that [`Maps`] doesn't.
fn hold(pins: &Pins) -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let open = |name| Ok((name, sys::open_pin(&pins.map(name))?));
    [EVENTS, LISTENERS].into_iter().map(open).collect()
}
