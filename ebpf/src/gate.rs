//! The life of a gate: attach, adopt, apply, detach. Owns the order of steps, which is what keeps a killed
//! process from leaving the door open.
//!
//! The invariant: vrfgate sets `*_l3mdev_accept` to 1 only while the gate is attached and gates every VRF that it
//! knows. So attaching ends with the sysctls, and detaching begins with them.

use std::os::fd::AsFd;

use vrfgate_core::{Protocol, RuleSet};
use vrfgate_machine::LockFile;

use crate::{
    Error, L3mdevAccept, Netns, Store, Tracing, Unlisted,
    attached::{Attached, rebuild},
    encode::Tables,
    error::Doing,
    record::Record,
    remains::{close_sysctls, record_or_lost},
    status::{self, GateStatus},
    sys,
    sysctl::Switches,
    tracker::Tracker,
};

mod apply;
mod attach;
mod detach;
mod keep;
mod switch;
#[cfg(feature = "test-run")]
mod test_run;

pub use keep::Repaired;

use self::switch::Ports;

/// The gate of one network namespace, and the right to change it: one process at a time has it.
///
/// Dropping it changes nothing in the kernel; the gate goes on.
pub struct Gate {
    netns: Netns,
    store: Store,
    attached: Attached,
    tracker: Tracker,
    /// What the maps hold; `None` when a change failed half way and they must be read again.
    tables: Option<Tables>,
    /// What `tables` were made of, if we have made them.
    rules: Option<RuleSet>,
    /// What this handle last set the sysctls to.
    sysctls: L3mdevAccept,
    /// Kept open by [`Gate::keep`] after its first call.
    switches: Option<Switches>,
    ports: Ports,
    record: Record,
    lock: LockFile,
}

impl Gate {
    /// Whether the gate runs the programs that this version of vrfgate would attach, by both its links, and
    /// asks the tracker that there is now.
    pub fn is_current(&self) -> Result<bool, Error> {
        let pins = self.store.pins(self.netns.id());
        Ok(self.attached.is_whole(&self.netns)?
            && self.record.is_current()
            && self.tracker.is_asked_by(&pins)?)
    }

    /// Records that the gate came before anything needs it, so that sockets are bound under its sysctl. It stays until it
    /// is removed by name, also while no leak asks for it.
    pub fn prepare(&mut self) -> Result<(), Error> {
        if self.record.prepared {
            return Ok(());
        }
        self.record.prepared = true;
        self.save_record()
    }

    /// Whether [`Gate::prepare`] was called for this gate, by any process.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.record.prepared
    }

    /// What the sysctls were before the gate.
    #[must_use]
    pub fn former(&self) -> L3mdevAccept {
        self.record.former
    }

    /// How the gate learns of listeners that are bound to a VRF.
    #[must_use]
    pub fn tracing(&self) -> &Tracing {
        self.tracker.tracing()
    }

    /// Protocols whose sockets the kernel doesn't list, as of the last poll.
    #[must_use]
    pub fn unlisted(&self) -> &[Unlisted] {
        self.tracker.unlisted()
    }

    /// Replaces the programs with those of this version. Rules and counters stay, and there is no moment without a
    /// gate: the old programs go when the new ones are in force.
    pub fn renew(&mut self) -> Result<(), Error> {
        self.verify()?;
        let pins = self.store.pins(self.netns.id());
        let listeners = Tracker::listeners_pin(&self.store);
        let renewed = rebuild(&pins, &self.netns, &listeners).and_then(|(attached, staging)| {
            pins.replace(&staging)
                .and_then(|()| pins.sweep())
                .doing(|| format!("publishing {}", pins.directory().display()))?;
            Ok(attached)
        });
        // Closes the last descriptors of the old links; on an error, those of the new ones.
        self.attached = renewed.inspect_err(|_| {
            let _ = pins.sweep();
        })?;
        self.record.renew();
        self.save_record()
    }

    /// Makes sure that the kernel still runs this gate, or its guard, for its namespace. If it runs neither, the
    /// sysctls are set to 0 at once.
    pub fn verify(&self) -> Result<(), Error> {
        let result = self.attached.verify(&self.netns);
        if let Err(Error::NotInForce { .. }) = result {
            close_sysctls(&self.netns)?;
        }
        result
    }

    /// What is in force, and what it has done.
    pub fn status(&self) -> Result<GateStatus, Error> {
        status::of(&self.store, &self.netns, &self.attached, &self.record)
    }

    /// As [`Gate::status`], for any process that may read the pins, without adopting the gate. `None` when
    /// the namespace has no gate.
    pub fn inspect(store: &Store, netns: &Netns) -> Result<Option<GateStatus>, Error> {
        let pins = store.pins(netns.id());
        let Some(attached) = Attached::open(&pins, netns)? else {
            return Ok(None);
        };
        let record = record_or_lost(store, netns)?;
        status::of(store, netns, &attached, &record).map(Some)
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    fn save_record(&self) -> Result<(), Error> {
        self.record
            .save(&self.store, self.netns.id())
            .map(drop)
            .doing(|| format!("writing {}", self.store.record(self.netns.id()).display()))
    }

    /// The last step: lets VRF packets reach unbound sockets, now that the gate decides which.
    ///
    /// TCP always; UDP only while a rule needs it, because broadcast and multicast datagrams are delivered
    /// without a socket look-up, and so past the gate (`__udp4_lib_mcast_deliver`).
    fn open_sysctls(&mut self, rules: &RuleSet) -> Result<(), Error> {
        self.verify()?;
        self.sysctls = self.sysctls_for(rules);
        self.write_sysctls()
    }

    /// The values of the sysctls that rules need.
    fn sysctls_for(&self, rules: &RuleSet) -> L3mdevAccept {
        let former = self.record.former;
        L3mdevAccept {
            tcp: former.tcp.map(|_| true),
            udp: former.udp.map(|former| former || rules.uses(Protocol::Udp)),
        }
    }
}

/// Kernel-wide numbers of all `sk_lookup` programs of a namespace, ours and others', in the order they run.
/// One that assigns sockets overrides what the gate refuses.
pub fn sk_lookup_programs(netns: &Netns) -> Result<Vec<u32>, Error> {
    sys::programs_of(netns.as_fd())
        .doing(|| format!("asking the kernel for the sk_lookup programs of {netns}"))
}
