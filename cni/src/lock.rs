//! One process at a time works on the attachments of a namespace: several interfaces of one pod share a gate.

use std::{fs::File, io, os::fd::AsFd, time::Duration};

use vrfgate_ebpf::Netns;
use vrfgate_machine::FileLock;

use crate::protocol::{Code, Failure};

/// How long others may take, who may be several. Putting a gate in takes a fraction of a second, and seconds on a
/// machine that is short of everything; the runtime itself waits for minutes.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Held while a namespace's attachments change. Released when the process ends, however.
///
/// It is a lock on the namespace's own file: that needs no file of ours, which would have to be removed some day,
/// and it goes with the namespace.
pub(crate) struct NetnsLock {
    _file: FileLock,
}

impl NetnsLock {
    pub(crate) fn take(netns: &Netns) -> Result<Self, Failure> {
        match lock(netns) {
            Ok(Some(file)) => Ok(Self { _file: file }),
            Ok(None) => Err(Failure::new(
                Code::TryAgainLater,
                format!("another process has been working on {netns} for {TIMEOUT:?}"),
            )),
            Err(error) => Err(Failure::new(Code::Io, format!("locking {netns}: {error}"))),
        }
    }
}

fn lock(netns: &Netns) -> io::Result<Option<FileLock>> {
    let file = netns.as_fd().try_clone_to_owned()?;
    FileLock::wait_for(File::from(file), TIMEOUT)
}
