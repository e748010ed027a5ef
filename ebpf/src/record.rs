//! What BPF can't hold: the former sysctl values, and the names behind counter slots. A JSON file, replaced
//! as a whole, and always before the change it tells of.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use vrfgate_abi::LAYOUT;

use crate::{
    L3mdevAccept, NetnsId, Store,
    slots::Slots,
    store::{remove_replaced, replace_file},
};

/// Content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    layout: u32,
    /// Version of the vrfgate that wrote it, for people.
    version: String,
    /// The namespace's cookie: files are named by its inode number, which a later namespace may get.
    cookie: u64,
    /// What the sysctls were before the gate; what `detach` gives back.
    pub(crate) former: L3mdevAccept,
    pub(crate) slots: Slots,
}

impl Record {
    pub(crate) fn new(cookie: u64, former: L3mdevAccept) -> Self {
        Self {
            layout: LAYOUT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cookie,
            former,
            slots: Slots::default(),
        }
    }

    /// The record of a gate that has lost its own: the sysctls count as formerly closed.
    pub(crate) fn lost(cookie: u64) -> Self {
        Self::new(cookie, L3mdevAccept::CLOSED)
    }

    /// The namespace's record, if there is one. One that can't be read says at least that a gate was here.
    /// One of a namespace that is gone, and whose number this one has now, is none.
    pub(crate) fn load(store: &Store, id: NetnsId, cookie: u64) -> io::Result<Option<Self>> {
        match fs::read(store.record(id)) {
            Ok(text) => {
                let record = serde_json::from_slice::<Self>(&text)
                    .ok()
                    .filter(|record| record.layout == LAYOUT)
                    .unwrap_or_else(|| Self::lost(cookie));
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
