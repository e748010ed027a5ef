//! One process at a time works on the attachments of a namespace: several interfaces of one pod share a gate.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};
use vrfgate_ebpf::Netns;

use crate::protocol::{Code, Failure};

/// How long others may take, who may be several. Putting a gate in takes a fraction of a second, and seconds on a
/// machine that is short of everything; the runtime itself waits for minutes.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Held while a namespace's attachments change. Released when the process ends, however.
///
/// It is a lock on the namespace's own file: that needs no file of ours, which would have to be removed some day,
/// and it goes with the namespace.
pub(crate) struct NetnsLock {
    _file: Flock<OwnedFd>,
}

impl NetnsLock {
    pub(crate) fn take(netns: &Netns) -> Result<Self, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            match try_lock(netns) {
                Ok(Some(file)) => return Ok(Self { _file: file }),
                Ok(None) if Instant::now() < end => thread::sleep(ASK_EVERY),
                Ok(None) => {
                    return Err(Failure::new(
                        Code::TryAgainLater,
                        format!("another process has been working on {netns} for {PATIENCE:?}"),
                    ));
                }
                Err(error) => {
                    return Err(Failure::new(Code::Io, format!("locking {netns}: {error}")));
                }
            }
        }
    }
}

fn try_lock(netns: &Netns) -> io::Result<Option<Flock<OwnedFd>>> {
    let file = netns.as_fd().try_clone_to_owned()?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(file)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}
