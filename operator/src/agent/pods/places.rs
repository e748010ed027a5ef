//! How many gates of pods this agent can keep, by the number of files that it may have open. With one more, each of
//! them would lack a descriptor from time to time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Descriptors of one pod: its namespace, two netlink sockets, the two programs and links of its gate, nine maps, two
/// sysctls and a lock are 19. A test counts them.
const EACH: u64 = 20;

/// Descriptors of everything else: the node's own gate, the API server, connections of plugins, and what loading a gate
/// or collecting leftovers takes for a moment.
const REST: u64 = 120;

/// A place for one pod. Dropping it releases it.
pub type Place = OwnedSemaphorePermit;

/// The places of an agent.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    all: usize,
    open_files: u64,
}

impl Places {
    /// Of a process that may have so many files open.
    pub fn within(open_files: u64) -> Self {
        let all = open_files.saturating_sub(REST) / EACH;
        let all = usize::try_from(all)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(all)),
            all,
            open_files,
        }
    }

    /// One of them, or why there is none.
    pub fn take(&self) -> Result<Place, String> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let Self {
                all, open_files, ..
            } = self;
            format!(
                "nobody looks after its gate, which stays as it is: this agent may have {open_files} files open, and \
                 looks after no more than {all} pods with VRFs by that (raise the hard limit of open files, such as \
                 LimitNOFILE= of the container runtime's unit; or wait for another pod to go)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_back_is_there_for_another() {
        let places = Places::within(REST + 2 * EACH);
        let one = places.take().unwrap();
        let _other = places.take().unwrap();
        let why = places.take().unwrap_err();
        assert!(why.contains("no more than 2 pods"), "{why}");
        drop(one);
        assert!(places.take().is_ok());
    }

    #[test]
    fn no_limit_is_too_low_or_too_high() {
        for open_files in [0, REST] {
            assert!(Places::within(open_files).take().is_err(), "{open_files}");
        }
        for open_files in [1 << 20, u64::MAX] {
            assert!(Places::within(open_files).take().is_ok(), "{open_files}");
        }
    }
}
