//! The life of a gate: attach, adopt, apply, detach. Owns the order of steps, which is what keeps a killed
//! process from leaving the door open.
//!
//! The invariant: `*_l3mdev_accept` is 1 by our doing only while the gate is attached and gates every VRF it
//! was told of. So attaching ends with the sysctls, and detaching begins with them.

use std::os::fd::AsFd;

use crate::{
    Capacity, Error, Events, L3mdevAccept, Netns, Protocol, RuleSet, SharedPorts, Store,
    TestPacket, TestRun, Tracing, Unlisted,
    attached::{Attached, build, map_error, rebuild},
    encode::Tables,
    error::Doing,
    preflight::{self, surroundings},
    record::Record,
    remains::{
        bury, close_sysctls, cookie, forget, former_sysctls, left_behind, load_record, lock,
        record_or_lost, remove_pins,
    },
    status::{self, GateStatus},
    store::Lock,
    sys,
    sysctl::Switches,
    tracker::Tracker,
};

mod apply;
mod keep;
mod switch;

pub use keep::Mended;

use self::switch::{Ports, check, give_back};

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
    /// Open for [`Gate::keep`] once it has looked.
    switches: Option<Switches>,
    ports: Ports,
    record: Record,
    lock: Lock,
}

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
        // What an earlier gate knew of sockets is still so.
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
        // Before anything is built: who is refused comes again every second. It is looked at once more below.
        let open = L3mdevAccept {
            tcp: former.tcp.map(|_| true),
            ..former
        };
        check(&netns, open, &record.bound_under, policy)?;
        let listeners = Tracker::listeners_pin(store);
        let built = Tracker::provide(store, netns.id()).and_then(|mut tracker| {
            tracker.watch(&netns, &rules.slaves)?;
            let built = build(&pins, &netns, rules, capacity, &listeners, &mut record)?;
            Ok((tracker, built))
        });
        let (tracker, (attached, tables, staging)) = match built {
            Ok(built) => built,
            Err(error) => {
                // What the verifier says of it is long, and not the reason.
                let error = match preflight::kernel() {
                    Some(missing) if !error.is_shortage() => Error::Unsupported(vec![missing]),
                    _ => error,
                };
                // The reason matters more than what may go wrong on the way back.
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
        // The record comes before the pins: once they show, somebody may take the gate over, or away, and
        // must know what the sysctls were.
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
                    // One of the two is in force, and stays.
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

    /// Takes over the gate that the namespace has; `None` when it has none.
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
        // A gate that was being replaced by this one may be attached still.
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

    /// Whether the gate runs the programs that this version of vrfgate would attach, by both its links, and
    /// asks the tracker that there is now.
    pub fn is_current(&self) -> Result<bool, Error> {
        let pins = self.store.pins(self.netns.id());
        Ok(self.attached.is_whole(&self.netns)?
            && self.record.is_current()
            && self.tracker.is_asked_by(&pins)?)
    }

    /// Notes that the gate came before whoever needs it, so that sockets are bound under its sysctl: it stays until it
    /// is taken away by name, also while nothing is asked for.
    pub fn prepare(&mut self) -> Result<(), Error> {
        if self.record.prepared {
            return Ok(());
        }
        self.record.prepared = true;
        self.save_record()
    }

    /// Whether that was noted.
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

    /// Protocols whose sockets the kernel doesn't list, as of the last look.
    #[must_use]
    pub fn unlisted(&self) -> &[Unlisted] {
        self.tracker.unlisted()
    }

    /// Puts this version's programs into the place of whatever is there. Rules and counters stay, and there
    /// is no moment without a gate: the old programs go when the new ones are in force.
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
        // The last descriptors of the old links go here; or, what was made in vain.
        self.attached = renewed.inspect_err(|_| {
            let _ = pins.sweep();
        })?;
        self.record.renew();
        self.save_record()
    }

    /// Makes sure that the kernel still runs this gate, or its guard, for its namespace. If neither, the
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

    /// As [`Gate::status`], for anybody who may read the pins, without taking the gate over. `None` when
    /// the namespace has no gate.
    pub fn inspect(store: &Store, netns: &Netns) -> Result<Option<GateStatus>, Error> {
        let pins = store.pins(netns.id());
        let Some(attached) = Attached::open(&pins, netns)? else {
            return Ok(None);
        };
        let record = record_or_lost(store, netns)?;
        status::of(store, netns, &attached, &record).map(Some)
    }

    /// Refusals as they are decided. Each is handed to one reader only.
    pub fn events(&self) -> Result<Events, Error> {
        Events::open(&self.store.pins(self.netns.id()))
            .map_err(|cause| map_error("reading the events of", &self.netns, cause))
    }

    /// Runs the gate's program on a made-up packet (`BPF_PROG_TEST_RUN`), `repeat` times. The kernel takes
    /// no interface number for it: the packet comes from the VRF that the rules call 0. It counts as real.
    pub fn test_run(&self, packet: &TestPacket, repeat: u32) -> Result<TestRun, Error> {
        self.attached
            .test_run(packet, repeat)
            .doing(|| format!("running the gate of {} on a test packet", self.netns))
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Gives the namespace back as it was before [`Gate::attach`]. Open connections live on. Nothing is done where TCP
    /// ports are shared that must not be when `tcp_l3mdev_accept` changes: [`Error::PortShared`].
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
        give_back(&netns, record.former, &record.bound_under, ports.policy())?;
        remove_pins(&store, &netns)?;
        drop(attached);
        Tracker::forget(&store, netns.id())?;
        forget(&store, &netns, lock)
    }

    /// Removes what a dead or half-made gate left of itself, and gives the sysctls back; closes them where
    /// their former values are lost. True when there was anything.
    ///
    /// Nothing is done where shared TCP ports are in the way, as with [`Gate::detach`], unless the policy is another.
    pub fn clean_up(store: &Store, netns: &Netns, policy: SharedPorts) -> Result<bool, Error> {
        let lock = lock(store, netns)?;
        bury(store, netns)?;
        let former = left_behind(store, netns)?;
        if let Some(former) = former {
            if is_missing(store, netns)? {
                // With nobody to guard it, an open door is worse than what may come of closing it.
                close_sysctls(netns)?;
            }
            let known = load_record(store, netns)?.map(|record| record.bound_under);
            give_back(netns, former, &known.unwrap_or_default(), policy)?;
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
            // Whoever held the lock until now may have been about to put the gate in.
            if is_missing(store, netns)? {
                close_sysctls(netns)?;
            }
        }
        Ok(())
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

    /// What rules take the sysctls to be.
    fn sysctls_for(&self, rules: &RuleSet) -> L3mdevAccept {
        let former = self.record.former;
        L3mdevAccept {
            tcp: former.tcp.map(|_| true),
            udp: former.udp.map(|former| former || rules.uses(Protocol::Udp)),
        }
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

/// Kernel-wide numbers of all `sk_lookup` programs of a namespace, ours and others', in the order they run.
/// One that assigns sockets overrides what the gate refuses.
pub fn sk_lookup_programs(netns: &Netns) -> Result<Vec<u32>, Error> {
    sys::programs_of(netns.as_fd())
        .doing(|| format!("asking the kernel for the sk_lookup programs of {netns}"))
}
