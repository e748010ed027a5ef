//! Removes a gate, and what is left of one that isn't in force any more.

use super::{
    Gate,
    switch::{check, restore},
};
use crate::{
    Error, Netns, SharedPorts, Store,
    attached::Attached,
    remains::{bury, close_sysctls, forget, left_behind, load_record, lock, remove_pins},
    tracker::Tracker,
};

impl Gate {
    /// Restores the namespace to what it was before [`Gate::attach`]. Open connections live on. Nothing is done where
    /// TCP ports are shared that must not be when `tcp_l3mdev_accept` changes: [`Error::PortShared`].
    pub fn detach(self) -> Result<(), Error> {
        let Self {
            netns,
            store,
            attached,
            tracker: _,
            tables: _,
            rules: _,
            sysctls: _,
            switches: _,
            ports,
            record,
            lock,
        } = self;
        restore(&netns, record.former, &record.bound_under, ports.policy())?;
        remove_pins(&store, &netns)?;
        drop(attached);
        Tracker::forget(&store, netns.id())?;
        forget(&store, &netns, lock)
    }

    /// Removes what a dead or half-made gate left, and restores the sysctls; sets them to 0 where their former
    /// values are lost. True when there was anything.
    ///
    /// Nothing is done where shared TCP ports are in the way, as with [`Gate::detach`], unless the policy is another.
    pub fn clean_up(store: &Store, netns: &Netns, policy: SharedPorts) -> Result<bool, Error> {
        let lock = lock(store, netns)?;
        bury(store, netns)?;
        let former = left_behind(store, netns)?;
        if let Some(former) = former {
            if is_missing(store, netns)? {
                // Without a gate, an open sysctl is worse than what closing it may do to shared ports.
                close_sysctls(netns)?;
            }
            let known = load_record(store, netns)?.map(|record| record.bound_under);
            restore(netns, former, &known.unwrap_or_default(), policy)?;
        }
        remove_pins(store, netns)?;
        Tracker::forget(store, netns.id())?;
        forget(store, netns, lock)?;
        Ok(former.is_some())
    }

    /// Whether [`Gate::clean_up`] would be refused for shared TCP ports. Changes nothing.
    pub fn may_clean_up(store: &Store, netns: &Netns, policy: SharedPorts) -> Result<(), Error> {
        let Some(former) = left_behind(store, netns)? else {
            return Ok(());
        };
        if is_missing(store, netns)? {
            return Ok(());
        }
        let known = load_record(store, netns)?.map(|record| record.bound_under);
        check(netns, former, &known.unwrap_or_default(), policy).map(drop)
    }

    /// Sets the sysctls to 0 if the namespace has had a gate and it is not in force now. To be called before
    /// anything that may fail, so that no failure leaves the door open.
    pub fn close_if_missing(store: &Store, netns: &Netns) -> Result<(), Error> {
        if is_missing(store, netns)? {
            let _lock = lock(store, netns)?;
            // The lock's last holder may have attached the gate.
            if is_missing(store, netns)? {
                close_sysctls(netns)?;
            }
        }
        Ok(())
    }
}

/// Whether the namespace has had a gate that is not in force now.
fn is_missing(store: &Store, netns: &Netns) -> Result<bool, Error> {
    match Attached::open(&store.pins(netns.id()), netns) {
        Ok(Some(_)) | Err(Error::OldLayout { .. }) => Ok(false),
        Ok(None) => Ok(load_record(store, netns)?.is_some()),
        Err(Error::NotInForce { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
