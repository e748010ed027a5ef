//! The tracker of listeners: one for all gates of a machine. Owns the maps that show a gate whether a socket
//! bound to its VRF waits for a packet, and the tracing programs that keep them; knows nothing of rules.
//!
//! The maps and the programs are pinned, so they go on when no vrfgate runs. Sockets are counted by the tracing
//! programs at the moment they open; [`Tracker::sync`] lists a namespace's sockets by `sock_diag`, for those that
//! opened before the programs came, and for whatever else they may have missed. Where the kernel refuses tracing
//! programs, this is all there is, and must be called often.
//!
//! ```text
//! tracker-vLAYOUT/listeners, sockets, slaves, namespaces
//! tracker-vLAYOUT/links-BUILD/tcp_state, tcp_listen, tcp_unlisten, udp_bind, udp_close
//! ```

mod kernel;
mod maps;
mod pins;
mod programs;
mod sync;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::maps::MapError;
use vrfgate_abi::{ListenerKey, Listeners, TrackedSocket};
use vrfgate_core::Protocol;
use vrfgate_machine::{LockFile, is_shortage, release_free_memory};

pub use self::programs::Tracing;
use self::{
    maps::TrackerMaps,
    pins::{LISTENERS, TrackerPins},
    sync::Grace,
};
use crate::{
    Error, Netns, NetnsId, OpenSocket, SocketsInSight, Store, Unlisted,
    causes::{self, as_io},
    error::{Doing, map_error},
    pins::Pins,
    sockets_in_sight,
};

/// How often sockets are listed while tracing programs watch them, too: these miss a socket that is bound to a device
/// after it got its port.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// How often a list is asked for that the kernel doesn't have: each time, it looks for a module.
const ASK_AGAIN_EVERY: Duration = Duration::from_mins(1);

/// The tracker as one namespace's gate uses it.
///
/// All gates share the maps, which are opened when they are used: a process may manage hundreds of gates, each of which
/// would hold them open.
pub(crate) struct Tracker {
    pins: TrackerPins,
    /// The kernel's number of the map by which gates know listeners.
    id: u32,
    tracing: Tracing,
    netns: NetnsId,
    /// What [`Tracker::watch`] wrote last; `None` before.
    slaves: Option<BTreeMap<u32, u32>>,
    looked: Option<Instant>,
    /// Sockets that are tracked and were not to be seen when looked for.
    suspects: HashSet<u64>,
    /// Counts that were not what the tracked sockets add up to.
    miscounts: HashMap<ListenerKey, Listeners>,
    /// Protocols that the kernel lists no sockets of, and when it was last asked for them.
    unlisted: Vec<Unlisted>,
    asked: Option<Instant>,
}

impl Tracker {
    /// Finds the machine's tracker or makes it, and takes it over from another version.
    pub(crate) fn provide(store: &Store, netns: NetnsId) -> Result<Self, Error> {
        let pins = TrackerPins::of(store);
        let doing = || format!("making {}", pins.directory().display());
        let lock = lock(store)?;
        if !pins.are_complete().doing(doing)? {
            pins.remove().doing(doing)?;
            let staging = pins.stage().doing(doing)?;
            programs::make_maps(&staging)?;
            pins.publish(&staging).doing(doing)?;
        }
        let tracing = programs::attach(&pins)?;
        // The types of the whole kernel took tens of megabytes, and this process may live long.
        release_free_memory();
        let id = TrackerMaps::open(&pins)
            .and_then(|mut maps| maps.register(netns).map(|()| maps.id()))
            .map_err(|cause| tracker_error("opening", &cause))?;
        // The file stays while there is a tracker.
        drop(lock);
        Ok(Self {
            pins,
            id,
            tracing,
            netns,
            slaves: None,
            looked: None,
            suspects: HashSet::new(),
            miscounts: HashMap::new(),
            unlisted: Vec::new(),
            asked: None,
        })
    }

    /// Where the map is pinned that gates ask.
    pub(crate) fn listeners_pin(store: &Store) -> PathBuf {
        TrackerPins::of(store).map(LISTENERS)
    }

    /// Whether a gate's program asks this tracker: another program may have removed the one that it was made with.
    pub(crate) fn is_asked_by(&self, gate: &Pins) -> Result<bool, Error> {
        self.is_pinned_at(&gate.map(LISTENERS))
    }

    /// Whether this still is the machine's tracker, and all of it is there.
    pub(crate) fn is_in_place(&self) -> Result<bool, Error> {
        let doing = || format!("looking at {}", self.pins.directory().display());
        let complete = self.pins.are_complete().doing(doing)?;
        let traced = self.tracing != Tracing::On || self.pins.have_links().doing(doing)?;
        Ok(complete && traced && self.is_pinned_at(&self.pins.map(LISTENERS))?)
    }

    fn is_pinned_at(&self, pin: &Path) -> Result<bool, Error> {
        match maps::id_of(pin) {
            Ok(id) => Ok(id == self.id),
            // Unknown.
            Err(cause) if causes::answer(&cause).is_some_and(is_shortage) => {
                Err(tracker_error("looking at", &cause))
            }
            Err(_) => Ok(false),
        }
    }

    /// Finds or makes the machine's tracker anew, when this one is not in its place any more.
    pub(crate) fn provide_again(&mut self, store: &Store, netns: &Netns) -> Result<(), Error> {
        let slaves = self.slaves.clone().unwrap_or_default();
        *self = Self::provide(store, self.netns)?;
        self.watch(netns, &slaves)
    }

    /// Whether a machine's tracker is kept by tracing programs.
    pub(crate) fn is_tracing(store: &Store) -> bool {
        TrackerPins::of(store).have_links().unwrap_or(false)
    }

    /// Protocols whose sockets can't be listed: of theirs, only those count that opened before the eyes of the
    /// tracing programs.
    pub(crate) fn unlisted(&self) -> &[Unlisted] {
        &self.unlisted
    }

    /// How listeners are learned of.
    pub(crate) fn tracing(&self) -> &Tracing {
        &self.tracing
    }

    /// Counts the namespace's listeners from now on. `slaves` are the ifindexes of all slaves of VRFs, and of
    /// their VRFs.
    pub(crate) fn watch(
        &mut self,
        netns: &Netns,
        slaves: &BTreeMap<u32, u32>,
    ) -> Result<(), Error> {
        if self.slaves.as_ref() == Some(slaves) {
            return Ok(());
        }
        self.maps()
            .and_then(|mut maps| maps.watch(self.netns, slaves))
            .map_err(|cause| map_error("writing the tracker's part of", netns, cause))?;
        self.slaves = Some(slaves.clone());
        self.sync(netns)
    }

    /// Looks at the namespace's sockets when it is time to.
    pub(crate) fn keep(&mut self, netns: &Netns) -> Result<(), Error> {
        let due = match (&self.tracing, self.looked) {
            (Tracing::On, Some(looked)) => looked.elapsed() >= POLL_EVERY,
            (Tracing::Off(_), _) | (Tracing::On, None) => true,
        };
        if due { self.sync(netns) } else { Ok(()) }
    }

    /// Corrects the counts to what the namespace's sockets add up to.
    fn sync(&mut self, netns: &Netns) -> Result<(), Error> {
        let grace = match self.tracing {
            Tracing::On => Grace::WithTracing,
            Tracing::Off(_) => Grace::None,
        };
        let failed = |cause| map_error("comparing with its sockets", netns, cause);
        let mut maps = self.maps().map_err(failed)?;
        // Read before the sockets are listed: what is closed in between shows as a suspect, no more.
        let mut tracked = maps.sockets_of(self.netns).map_err(failed)?;
        let slaves = self.slaves.clone().unwrap_or_default();
        let in_sight = self.sockets_in_sight(netns)?;
        // No list is not an empty one.
        tracked.retain(|_, socket| !self.is_unlisted(socket));
        let listed = sync::described(&in_sight, self.netns, &slaves);
        let plan = sync::plan(&tracked, &listed, &self.suspects, grace);
        let added = maps.carry_out(&plan).map_err(failed)?;
        if !added.is_empty() && grace == Grace::WithTracing {
            // Closed since they were listed, so no tracing program will count them out.
            let still = sync::described(&self.sockets_in_sight(netns)?, self.netns, &slaves);
            let gone = added.iter().filter(|cookie| !still.contains_key(cookie));
            maps.count_out(gone.copied()).map_err(failed)?;
        }
        self.suspects = plan.suspects;
        self.miscounts = maps
            .recount(self.netns, &self.miscounts, grace)
            .map_err(failed)?;
        self.looked = Some(Instant::now());
        Ok(())
    }

    /// Asks for the sockets, and notes which can't be had. What could not be had a moment ago is left for later.
    fn sockets_in_sight(&mut self, netns: &Netns) -> Result<Vec<OpenSocket>, Error> {
        let again = self.asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN_EVERY);
        let mut protocols = vec![Protocol::Tcp, Protocol::Udp];
        if again {
            self.asked = Some(Instant::now());
        } else {
            protocols.retain(|protocol| !self.unlisted.contains(&Unlisted(*protocol)));
        }
        let SocketsInSight { sockets, unlisted } = sockets_in_sight(netns, &protocols)?;
        if again {
            self.unlisted = unlisted;
        } else {
            self.unlisted.extend(unlisted);
        }
        Ok(sockets)
    }

    fn is_unlisted(&self, socket: &TrackedSocket) -> bool {
        let mut unlisted = self.unlisted.iter();
        unlisted.any(|Unlisted(protocol)| protocol.number() == socket.key.protocol)
    }

    fn maps(&self) -> Result<TrackerMaps, MapError> {
        TrackerMaps::open(&self.pins)
    }

    /// Forgets a namespace's listeners. The last gate takes the tracker with it.
    pub(crate) fn forget(store: &Store, netns: NetnsId) -> Result<(), Error> {
        let pins = TrackerPins::of(store);
        let looking = || format!("looking at {}", pins.directory().display());
        // The lock goes after the pins, so it may be all that is left by a process that was killed.
        if !pins.exist().doing(looking)? && !store.has_tracker_lock().doing(looking)? {
            return Ok(());
        }
        let lock = lock(store)?;
        let doing = || format!("removing {}", pins.directory().display());
        let last = if pins.are_complete().doing(doing)? {
            TrackerMaps::open(&pins)
                .and_then(|mut maps| maps.forget(netns))
                .map_err(|cause| tracker_error("changing", &cause))?
        } else {
            store.namespaces().doing(doing)?.is_empty()
        };
        if last {
            pins.remove().doing(doing)?;
            lock.remove().doing(doing)?;
        }
        Ok(())
    }
}

/// Whether a structure of the kernel has a member, by the kernel's types; `None` when they can't be read.
pub(crate) fn has_member(types: &[u8], structure: &[u8], member: &[u8]) -> Option<bool> {
    kernel::Kernel::parse(types)?.has_member(structure, member)
}

fn lock(store: &Store) -> Result<LockFile, Error> {
    store
        .tracker_lock()
        .doing(|| format!("locking the tracker in {}", store.run_directory().display()))
}

fn tracker_error(doing: &str, cause: &MapError) -> Error {
    Error::Io {
        doing: format!("{doing} the tracker's maps"),
        cause: as_io(cause),
    }
}

/// For the fuzzer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_types(types: &[u8]) {
    let Some(kernel) = kernel::Kernel::parse(types) else {
        return;
    };
    let _ = kernel.socket_offsets();
    let _ = kernel.tracepoint("inet_sock_set_state");
    let _ = kernel.function("udp_lib_get_port");
}
