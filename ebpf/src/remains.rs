//! What a gate has outside the kernel's maps, and must remove or restore: lock, record, pins, and the former values of
//! the sysctls. Owns each single step; `gate` owns their order.

use vrfgate_machine::LockFile;

use crate::{Error, L3mdevAccept, Netns, Store, error::Doing, record::Record, tracker::Tracker};

pub(crate) fn lock(store: &Store, netns: &Netns) -> Result<LockFile, Error> {
    store
        .lock(netns.id())
        .doing(|| {
            format!(
                "locking the gate of {netns} in {}",
                store.run_directory().display()
            )
        })?
        .map_err(|holder| Error::Busy {
            netns: netns.to_string(),
            holder,
        })
}

/// The values to restore one day. Where there was a gate before (`remains`, or a record that is still there), the present
/// values may be our own.
pub(crate) fn former_sysctls(
    store: &Store,
    netns: &Netns,
    remains: bool,
) -> Result<L3mdevAccept, Error> {
    let record = load_record(store, netns)?;
    if remains || record.is_some() {
        close_sysctls(netns)?;
        return Ok(record.map_or(L3mdevAccept::CLOSED, |record| record.former));
    }
    L3mdevAccept::read(netns).doing(|| format!("reading the l3mdev_accept sysctls of {netns}"))
}

/// The sysctl values to restore for what is left of a gate; `None` when nothing is left.
pub(crate) fn left_behind(store: &Store, netns: &Netns) -> Result<Option<L3mdevAccept>, Error> {
    if let Some(record) = load_record(store, netns)? {
        return Ok(Some(record.former));
    }
    let pins = store.pins(netns.id());
    let pinned = pins
        .exist()
        .doing(|| format!("looking at {}", pins.directory().display()))?;
    Ok(pinned.then_some(L3mdevAccept::CLOSED))
}

/// Whether the record is that of a namespace that is gone and whose number ours has now.
pub(crate) fn is_orphan(store: &Store, netns: &Netns) -> Result<bool, Error> {
    let cookie = cookie(netns)?;
    Record::is_orphan(store, netns.id(), cookie)
        .doing(|| format!("reading {}", store.record(netns.id()).display()))
}

/// Removes pins and files of a namespace that is gone and whose number ours has now. They don't
/// belong to ours.
pub(crate) fn bury(store: &Store, netns: &Netns) -> Result<(), Error> {
    if is_orphan(store, netns)? {
        remove_pins(store, netns)?;
        Tracker::forget(store, netns.id())?;
        store.remove_files(netns.id()).doing(|| {
            format!(
                "removing the files of a namespace that is gone from {}",
                store.run_directory().display()
            )
        })?;
    }
    Ok(())
}

pub(crate) fn cookie(netns: &Netns) -> Result<u64, Error> {
    netns
        .cookie()
        .doing(|| format!("asking the kernel for the cookie of {netns}"))
}

pub(crate) fn load_record(store: &Store, netns: &Netns) -> Result<Option<Record>, Error> {
    Record::load(store, netns.id(), cookie(netns)?)
        .doing(|| format!("reading {}", store.record(netns.id()).display()))
}

/// The record of a gate that is pinned.
pub(crate) fn record_or_lost(store: &Store, netns: &Netns) -> Result<Record, Error> {
    match load_record(store, netns)? {
        Some(record) => Ok(record),
        None => Ok(Record::lost(cookie(netns)?)),
    }
}

pub(crate) fn close_sysctls(netns: &Netns) -> Result<(), Error> {
    L3mdevAccept::CLOSED
        .write(netns)
        .doing(|| format!("setting the l3mdev_accept sysctls of {netns} to 0"))
}

pub(crate) fn remove_pins(store: &Store, netns: &Netns) -> Result<(), Error> {
    let pins = store.pins(netns.id());
    pins.withdraw()
        .and_then(|()| pins.sweep())
        .doing(|| format!("removing the pins at {}", pins.directory().display()))
}

pub(crate) fn forget(store: &Store, netns: &Netns, lock: LockFile) -> Result<(), Error> {
    Record::remove(store, netns.id())
        .and_then(|()| lock.remove())
        .doing(|| format!("removing {}", store.record(netns.id()).display()))
}
