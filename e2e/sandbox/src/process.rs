//! Processes that are started beside the sockets of this one.
//!
//! Between `fork` and `exec` a child has a copy of every descriptor, so a socket that another thread closes meanwhile
//! lives on and keeps its port. Tests run in threads of one process: what one test starts would keep open what another
//! has just closed.

use std::{
    io,
    process::{Child, Command, Output, Stdio},
    sync::{PoisonError, RwLock},
};

/// Read while a process is being started.
static STARTING: RwLock<()> = RwLock::new(());

/// How everything in this process starts programs, instead of [`Command::spawn`] and [`Command::output`].
pub trait Started {
    /// The process, once it executes its program.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    fn started(&mut self) -> io::Result<Child>;

    /// What the process said until it ended. It has no input.
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    fn finished(&mut self) -> io::Result<Output>;
}

impl Started for Command {
    fn started(&mut self) -> io::Result<Child> {
        let _until_it_executes = STARTING.read().unwrap_or_else(PoisonError::into_inner);
        self.spawn()
    }

    fn finished(&mut self) -> io::Result<Output> {
        self.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .started()?
            .wait_with_output()
    }
}

/// Dropping it waits for processes that are being started. As the last field behind sockets it makes sure that they are
/// closed once the value is gone.
#[derive(Debug, Default)]
pub struct ReallyClosed;

impl Drop for ReallyClosed {
    fn drop(&mut self) {
        drop(STARTING.write().unwrap_or_else(PoisonError::into_inner));
    }
}
