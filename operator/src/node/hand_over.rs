//! How whoever only keeps a gate warm hands it over: a file beside the gate's record says that it may be had, and
//! removing that file asks for it. The gate is in force all the while.

use std::{fs, io, path::PathBuf};

use vrfgate_ebpf::{Netns, Store, replace_file};

fn path(store: &Store, netns: &Netns) -> PathBuf {
    store.companion(netns.id(), "offered")
}

/// The offer of a gate to whoever asks for it. Ends with this value.
#[derive(Debug)]
pub struct Offer {
    path: PathBuf,
}

impl Offer {
    /// Offers the gate of a namespace, which the caller looks after.
    pub fn make(store: &Store, netns: &Netns) -> io::Result<Self> {
        let path = path(store, netns);
        replace_file(&path, std::process::id().to_string().as_bytes())?;
        Ok(Self { path })
    }

    /// Whether somebody has asked for the gate.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        !self.path.exists()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // Somebody may have asked for it just now, which is what this comes to as well.
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks whoever looks after the gate of a namespace to let go of it. False when nobody has offered to: it is to be had
/// by itself, or not at all.
pub fn ask_to_hand_over(store: &Store, netns: &Netns) -> io::Result<bool> {
    match fs::remove_file(path(store, netns)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
