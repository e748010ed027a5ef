//! What BPF can't hold: the former sysctl values, and the names behind counter slots. A JSON file, replaced
//! as a whole, and always before the change that it describes.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use vrfgate_abi::LAYOUT;
use vrfgate_machine::{remove_replaced, replace_file};

use crate::{L3mdevAccept, NetnsId, Store, object::BUILD, ports::BoundUnder, slots::Slots};

/// Content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    layout: u32,
    /// Version of the vrfgate that wrote it, for people.
    version: String,
    /// [`BUILD`](crate::object::BUILD) of the program that is attached.
    #[serde(default)]
    build: u64,
    /// The namespace's cookie: files are named by its inode number, which a later namespace may get.
    cookie: u64,
    /// What the sysctls were before the gate; `detach` restores them.
    pub(crate) former: L3mdevAccept,
    pub(crate) slots: Slots,
    /// What is known of sockets that share TCP ports, or may.
    #[serde(default)]
    pub(crate) bound_under: BoundUnder,
    /// Whether the gate came before anything needed it, and stays until it is removed by name.
    #[serde(default)]
    pub(crate) prepared: bool,
}

/// What the records of all layouts have in common.
#[derive(Deserialize)]
struct Essence {
    layout: u32,
    cookie: u64,
    former: L3mdevAccept,
    #[serde(default)]
    bound_under: BoundUnder,
    #[serde(default)]
    prepared: bool,
}

impl Record {
    pub(crate) fn new(cookie: u64, former: L3mdevAccept) -> Self {
        Self {
            layout: LAYOUT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BUILD,
            cookie,
            former,
            slots: Slots::default(),
            bound_under: BoundUnder::default(),
            prepared: false,
        }
    }

    /// The record of a gate that has lost its own: the sysctls count as formerly closed, and its program as
    /// not ours.
    pub(crate) fn lost(cookie: u64) -> Self {
        Self {
            build: 0,
            ..Self::new(cookie, L3mdevAccept::CLOSED)
        }
    }

    /// Whether the program that is attached is the one that we would attach.
    pub(crate) fn is_current(&self) -> bool {
        self.build == BUILD
    }

    /// Records that our program is attached now.
    pub(crate) fn renew(&mut self) {
        self.build = BUILD;
        env!("CARGO_PKG_VERSION").clone_into(&mut self.version);
    }

    /// Reads a record. Of one that belongs to another layout only what is true of every layout counts.
    pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let Essence {
            layout,
            cookie,
            former,
            bound_under,
            prepared,
        } = serde_json::from_slice(text)?;
        if layout == LAYOUT {
            return serde_json::from_slice(text);
        }
        Ok(Self {
            build: 0,
            bound_under,
            prepared,
            ..Self::new(cookie, former)
        })
    }

    /// The namespace's record, if there is one. One that can't be read still shows that there was a gate.
    /// One of a namespace that is gone, and whose number this one has now, doesn't count.
    pub(crate) fn load(store: &Store, id: NetnsId, cookie: u64) -> io::Result<Option<Self>> {
        match fs::read(store.record(id)) {
            Ok(text) => {
                let record = Self::parse(&text).unwrap_or_else(|_| Self::lost(cookie));
                Ok((record.cookie == cookie).then_some(record))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the namespace's record is that of a namespace that is gone.
    pub(crate) fn is_orphan(store: &Store, id: NetnsId, cookie: u64) -> io::Result<bool> {
        Ok(store.record(id).try_exists()? && Self::load(store, id, cookie)?.is_none())
    }

    pub(crate) fn save(&self, store: &Store, id: NetnsId) -> io::Result<PathBuf> {
        let path = store.record(id);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        replace_file(&path, &text)?;
        Ok(path)
    }

    pub(crate) fn remove(store: &Store, id: NetnsId) -> io::Result<()> {
        remove_replaced(&store.record(id))
    }
}
