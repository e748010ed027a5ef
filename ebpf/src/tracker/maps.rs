//! The tracker's maps, and the loader's part in keeping them.
//!
//! Tracing programs count in them at the same time. A socket is counted in by the one that enters it, and counted
//! out by the one that removes it, so both may try. Only the counts themselves can be changed by both at once, and the
//! next poll repairs what that may do; see [`TrackerMaps::recount`].

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use aya::maps::{HashMap as Hash, MapData, MapError};
use vrfgate_abi::{ANY_IPV4, ListenerKey, Listeners, SOCKET_DUAL_STACK, SlaveKey, TrackedSocket};

use super::{
    pins::{LISTENERS, NAMESPACES, SLAVES, SOCKETS, TrackerPins},
    sync::{Grace, Plan, Sockets},
};
use crate::{
    NetnsId,
    maps::{absent_is_fine, pinned},
};

/// `BPF_NOEXIST` of `<linux/bpf.h>`.
const NO_EXIST: u64 = 1;
/// With so many entries of `listeners`, those that count nothing are removed. A quarter of what there is room
/// for.
const CROWDED: usize = 32_768;

/// Typed handles.
pub(super) struct TrackerMaps {
    listeners: Hash<MapData, ListenerKey, Listeners>,
    sockets: Hash<MapData, u64, TrackedSocket>,
    slaves: Hash<MapData, SlaveKey, u32>,
    namespaces: Hash<MapData, u32, u8>,
    /// The kernel's number of `listeners`.
    id: u32,
}

impl TrackerMaps {
    pub(super) fn open(pins: &TrackerPins) -> Result<Self, MapError> {
        Ok(Self {
            listeners: pinned(&pins.map(LISTENERS))?.try_into()?,
            sockets: pinned(&pins.map(SOCKETS))?.try_into()?,
            slaves: pinned(&pins.map(SLAVES))?.try_into()?,
            namespaces: pinned(&pins.map(NAMESPACES))?.try_into()?,
            id: id_of(&pins.map(LISTENERS))?,
        })
    }

    /// Has the namespace's sockets counted.
    pub(super) fn register(&mut self, netns: NetnsId) -> Result<(), MapError> {
        self.namespaces.insert(netns.0, 1, 0)
    }

    /// The kernel's number of the map that gates ask.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Has sockets on slaves counted under their VRFs.
    pub(super) fn watch(
        &mut self,
        netns: NetnsId,
        slaves: &BTreeMap<u32, u32>,
    ) -> Result<(), MapError> {
        let former = self.slaves_of(netns)?;
        for (&device, vrf) in slaves {
            if former.get(&device) != Some(vrf) {
                self.slaves.insert(slave_key(netns, device), vrf, 0)?;
            }
        }
        for &device in former.keys() {
            if !slaves.contains_key(&device) {
                absent_is_fine(self.slaves.remove(&slave_key(netns, device)))?;
            }
        }
        Ok(())
    }

    /// Removes everything about a namespace. True when no other is left.
    pub(super) fn forget(&mut self, netns: NetnsId) -> Result<bool, MapError> {
        absent_is_fine(self.namespaces.remove(&netns.0))?;
        for device in self.slaves_of(netns)?.into_keys() {
            absent_is_fine(self.slaves.remove(&slave_key(netns, device)))?;
        }
        for cookie in self.sockets_of(netns)?.into_keys() {
            absent_is_fine(self.sockets.remove(&cookie))?;
        }
        for key in self.counts_of(netns)?.into_keys() {
            absent_is_fine(self.listeners.remove(&key))?;
        }
        Ok(self.namespaces.keys().next().is_none())
    }

    /// The namespace's sockets that are counted.
    pub(super) fn sockets_of(&self, netns: NetnsId) -> Result<Sockets, MapError> {
        self.sockets
            .iter()
            .filter(|entry| !matches!(entry, Ok((_, socket)) if socket.key.netns != netns.0))
            .collect()
    }

    /// Carries out a plan. Returns the sockets that it counted in.
    pub(super) fn carry_out(&mut self, plan: &Plan) -> Result<Vec<u64>, MapError> {
        let Plan {
            add,
            remove,
            suspects: _,
        } = plan;
        self.count_out(remove.iter().copied())?;
        let mut added = Vec::new();
        for (&cookie, socket) in add {
            match self.sockets.insert(cookie, socket, NO_EXIST) {
                Ok(()) => {
                    self.count(socket, 1)?;
                    added.push(cookie);
                }
                // The tracing programs were faster.
                Err(error) if is_there_already(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(added)
    }

    /// Counts out those of the sockets that are counted.
    pub(super) fn count_out(&mut self, cookies: impl Iterator<Item = u64>) -> Result<(), MapError> {
        for cookie in cookies {
            let Ok(socket) = self.sockets.get(&cookie, 0) else {
                continue;
            };
            if self.sockets.remove(&cookie).is_ok() {
                self.count(&socket, u64::MAX)?;
            }
        }
        Ok(())
    }

    /// Corrects counts that are not what the sockets add up to, if they were the same before (`miscounts`).
    /// Returns those to check again: a tracing program may be between the two maps.
    pub(super) fn recount(
        &mut self,
        netns: NetnsId,
        miscounts: &HashMap<ListenerKey, Listeners>,
        grace: Grace,
    ) -> Result<HashMap<ListenerKey, Listeners>, MapError> {
        let counts = self.counts_of(netns)?;
        let mut due: HashMap<ListenerKey, Listeners> = HashMap::new();
        for socket in self.sockets_of(netns)?.values() {
            for key in keys(socket) {
                due.entry(key).or_default().sockets += 1;
            }
        }
        let mut suspicious = HashMap::new();
        for (key, count) in &counts {
            let right = due.remove(key).unwrap_or_default();
            let is_waste = right.sockets == 0
                && count.sockets == 0
                && (grace == Grace::None || counts.len() > CROWDED);
            if is_waste {
                absent_is_fine(self.listeners.remove(key))?;
            } else if *count != right {
                if grace == Grace::None || miscounts.get(key) == Some(count) {
                    self.listeners.insert(key, right, 0)?;
                } else {
                    suspicious.insert(*key, *count);
                }
            }
        }
        for (key, right) in due {
            if grace == Grace::None || miscounts.contains_key(&key) {
                self.listeners.insert(key, right, 0)?;
            } else {
                suspicious.insert(key, Listeners::default());
            }
        }
        Ok(suspicious)
    }

    fn counts_of(&self, netns: NetnsId) -> Result<HashMap<ListenerKey, Listeners>, MapError> {
        self.listeners
            .iter()
            .filter(|entry| !matches!(entry, Ok((key, _)) if key.netns != netns.0))
            .collect()
    }

    fn slaves_of(&self, netns: NetnsId) -> Result<BTreeMap<u32, u32>, MapError> {
        let mut slaves = BTreeMap::new();
        for entry in &self.slaves {
            let (key, vrf) = entry?;
            if key.netns == netns.0 {
                slaves.insert(key.device, vrf);
            }
        }
        Ok(slaves)
    }

    fn count(&mut self, socket: &TrackedSocket, by: u64) -> Result<(), MapError> {
        for key in keys(socket) {
            let mut listeners = match self.listeners.get(&key, 0) {
                Err(MapError::KeyNotFound) => Listeners::default(),
                found => found?,
            };
            listeners.sockets = listeners.sockets.wrapping_add(by);
            self.listeners.insert(key, listeners, 0)?;
        }
        Ok(())
    }
}

pub(super) fn id_of(pin: &Path) -> Result<u32, MapError> {
    Ok(MapData::from_pin(pin)?.info()?.id())
}

fn keys(socket: &TrackedSocket) -> impl Iterator<Item = ListenerKey> {
    let ipv4 = (socket.flags & SOCKET_DUAL_STACK != 0).then_some(ListenerKey {
        address: ANY_IPV4,
        ..socket.key
    });
    [socket.key].into_iter().chain(ipv4)
}

fn slave_key(netns: NetnsId, device: u32) -> SlaveKey {
    SlaveKey {
        netns: netns.0,
        device,
    }
}

fn is_there_already(error: &MapError) -> bool {
    match error {
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::AlreadyExists,
        _ => false,
    }
}
