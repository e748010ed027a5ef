//! The spec that an agent put into force last, kept beside the gate's record for the next start.

use std::{fs, io, path::PathBuf};

use tracing::warn;
use vrfgate_ebpf::{Netns, Store};
use vrfgate_machine::{remove_replaced, replace_file};

use crate::api::VrfGateNodeSpec;

fn path(store: &Store, netns: &Netns) -> PathBuf {
    store.companion(netns.id(), "agent.json")
}

/// Writes it.
pub fn save(store: &Store, netns: &Netns, spec: &VrfGateNodeSpec) -> io::Result<()> {
    let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
    replace_file(&path(store, netns), &text)
}

/// What an earlier agent has written. A file that can't be read counts as none: the gate stays as it is until the
/// API server answers.
pub fn load(store: &Store, netns: &Netns) -> Option<VrfGateNodeSpec> {
    let path = path(store, netns);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!("reading {}: {error}", path.display());
            return None;
        }
    };
    match serde_json::from_slice(&text) {
        Ok(spec) => Some(spec),
        Err(error) => {
            warn!("reading {}: {error}", path.display());
            None
        }
    }
}

/// Removes it, along with the gate.
pub fn remove(store: &Store, netns: &Netns) -> io::Result<()> {
    remove_replaced(&path(store, netns))
}
