//! How a process that only prepared a gate hands it over: a file beside the gate's record offers it, and removing that
//! file asks for it. The gate is in force all the while.

use std::{fs, io, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};
use vrfgate_ebpf::{Netns, Store};
use vrfgate_machine::replace_file;

/// How long the process that offers a gate may take to release it, and how often its gate is tried.
const RELEASING: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(100);

fn path(store: &Store, netns: &Netns) -> PathBuf {
    store.companion(netns.id(), "offered")
}

/// The offer of a gate. Ends with this value.
#[derive(Debug)]
pub struct Offer {
    path: PathBuf,
}

impl Offer {
    /// Offers the gate of a namespace, which the caller keeps.
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
        // It may have been asked for just now, which removes the file as well.
        let _ = fs::remove_file(&self.path);
    }
}

/// The way of another process to an offered gate.
#[derive(Debug)]
pub struct TakeOver {
    end: Instant,
    asked: bool,
    last: bool,
}

impl TakeOver {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            end: Instant::now() + RELEASING,
            asked: false,
            last: false,
        }
    }

    /// Whether to try once more after the gate was found busy. Asks for it, and waits, when it is offered.
    pub async fn again(&mut self, store: &Store, netns: &Netns) -> bool {
        if self.last || Instant::now() >= self.end {
            return false;
        }
        self.asked = self.asked || ask(store, netns).unwrap_or(false);
        if self.asked {
            sleep(TRY_EVERY).await;
        } else {
            // It may have become free just now.
            self.last = true;
        }
        true
    }
}

/// Asks for the gate. False when nobody offers it.
fn ask(store: &Store, netns: &Netns) -> io::Result<bool> {
    match fs::remove_file(path(store, netns)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
