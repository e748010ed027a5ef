//! Attaches a gate to a namespace, or adopts the one that it has.

use vrfgate_core::RuleSet;

use super::{
    Gate,
    switch::{Ports, check},
};
use crate::{
    Capacity, Error, L3mdevAccept, Netns, SharedPorts, Store,
    attached::{Attached, build},
    error::Doing,
    preflight::{self, surroundings},
    record::Record,
    remains::{bury, close_sysctls, cookie, former_sysctls, load_record, lock, record_or_lost},
    tracker::Tracker,
};

impl Gate {
    /// Puts a new gate with these rules into the namespace.
    ///
    /// Fails without having changed anything when the machine lacks what it takes, when the namespace has a
    /// gate already, or when the rules don't fit. Remains of a gate that is not in force are removed; a gate
    /// of an earlier layout goes on until the new one is in force. Where TCP ports are shared that must not be when
    /// `tcp_l3mdev_accept` changes, nothing is done, either: [`Error::PortShared`].
    pub fn attach(
        store: &Store,
        netns: Netns,
        rules: &RuleSet,
        capacity: &Capacity,
    ) -> Result<Self, Error> {
        Self::attach_with(store, netns, rules, capacity, SharedPorts::Refuse)
    }

    /// As [`Gate::attach`], which goes ahead although TCP ports are shared, if that is the policy.
    pub fn attach_with(
        store: &Store,
        netns: Netns,
        rules: &RuleSet,
        capacity: &Capacity,
        policy: SharedPorts,
    ) -> Result<Self, Error> {
        let lacks = surroundings(store);
        if !lacks.is_empty() {
            return Err(Error::Unsupported(lacks));
        }
        let lock = lock(store, &netns)?;
        bury(store, &netns)?;
        let pins = store.pins(netns.id());
        let (predecessor, remains) = match Attached::open(&pins, &netns) {
            Ok(Some(_)) => return Err(Error::AlreadyAttached(netns.to_string())),
            Ok(None) => (false, false),
            Err(Error::OldLayout { .. }) => (true, false),
            Err(Error::NotInForce { .. }) => (false, true),
            Err(error) => return Err(error),
        };
        // What an earlier gate recorded of sockets still holds.
        let known = load_record(store, &netns)?.map(|record| (record.bound_under, record.prepared));
        let former = if predecessor {
            record_or_lost(store, &netns)?.former
        } else {
            let former = former_sysctls(store, &netns, remains)?;
            pins.withdraw().and_then(|()| pins.sweep()).doing(|| {
                format!(
                    "removing what is left of a gate at {}",
                    pins.directory().display()
                )
            })?;
            former
        };

        let mut record = Record::new(cookie(&netns)?, former);
        (record.bound_under, record.prepared) = known.unwrap_or_default();
        // Checked before anything is built, because a caller that is refused tries again every second. Checked once
        // more below.
        let open = L3mdevAccept {
            tcp: former.tcp.map(|_| true),
            ..former
        };
        check(&netns, open, &record.bound_under, policy)?;
        let listeners = Tracker::listeners_pin(store);
        let built = Tracker::provide(store, netns.id()).and_then(|mut tracker| {
            tracker.watch(&netns, rules.slaves())?;
            let built = build(&pins, &netns, rules, capacity, &listeners, &mut record)?;
            Ok((tracker, built))
        });
        let (tracker, (attached, tables, staging)) = match built {
            Ok(built) => built,
            Err(error) => {
                // The verifier's log is long, and not the reason.
                let error = match preflight::kernel() {
                    Some(missing) if !error.is_shortage() => Error::Unsupported(vec![missing]),
                    _ => error,
                };
                // The first error is reported, whatever goes wrong while this is undone.
                let _ = pins.sweep();
                if !predecessor {
                    let _ = Tracker::forget(store, netns.id());
                }
                return Err(error);
            }
        };
        let mut gate = Self {
            netns,
            store: store.clone(),
            attached,
            tracker,
            tables: Some(tables),
            rules: Some(rules.clone()),
            sysctls: former,
            switches: None,
            ports: Ports::new(policy),
            record,
            lock,
        };
        // The record comes before the pins: once they show, another process may adopt or remove the gate, and must
        // know what the sysctls were.
        let opened = gate
            .save_record()
            .and_then(|()| {
                if predecessor {
                    pins.replace(&staging).and_then(|()| pins.sweep())
                } else {
                    pins.publish(staging)
                }
                .doing(|| format!("publishing {}", pins.directory().display()))
            })
            .and_then(|()| gate.open_sysctls(rules));
        match opened {
            Ok(()) => Ok(gate),
            Err(error) => {
                if predecessor {
                    // One of the two is in force, and remains.
                    let _ = pins.sweep();
                } else {
                    // A gate that can't be opened is of no use, and "nothing was changed" is a promise. What
                    // made the first step fail may make this one fail too; then the gate stays, and refuses.
                    let _ = gate.detach();
                }
                Err(error)
            }
        }
    }

    /// Adopts the namespace's gate; `None` when it has none.
    ///
    /// When the gate turns out not to be in force, the sysctls are set to 0 before the error is returned.
    pub fn open(store: &Store, netns: Netns) -> Result<Option<Self>, Error> {
        let pins = store.pins(netns.id());
        if !pins
            .exist()
            .doing(|| format!("looking at {}", pins.directory().display()))?
        {
            return Ok(None);
        }
        let lock = lock(store, &netns)?;
        bury(store, &netns)?;
        let attached = match Attached::open(&pins, &netns) {
            Ok(Some(attached)) => attached,
            Ok(None) => return Ok(None),
            Err(error @ Error::NotInForce { .. }) => {
                close_sysctls(&netns)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        // The gate that this one replaced may still be attached.
        pins.sweep().doing(|| {
            format!(
                "removing what is left beside {}",
                pins.directory().display()
            )
        })?;
        let record = record_or_lost(store, &netns)?;
        let tracker = Tracker::provide(store, netns.id())?;
        Ok(Some(Self {
            netns,
            store: store.clone(),
            attached,
            tracker,
            tables: None,
            rules: None,
            sysctls: record.former,
            switches: None,
            ports: Ports::default(),
            record,
            lock,
        }))
    }
}
