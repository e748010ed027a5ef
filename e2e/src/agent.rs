//! A `vrfgate agent` that looks after the pods of a [`CniNode`](crate::CniNode).

use std::{
    fmt, fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::soon;

/// A running `vrfgate agent`.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// One that has been started, once it listens.
    #[track_caller]
    pub(crate) fn new(child: Child, log: PathBuf, socket: &Path) -> Self {
        let agent = Self { child, log };
        let listens = fmt::from_fn(|f| write!(f, "the agent listens; it said:\n{}", agent.said()));
        // One that was killed has left its socket behind.
        soon(listens, || UnixStream::connect(socket).is_ok());
        agent
    }

    /// What it has logged.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its log says so, now or soon.
    #[track_caller]
    pub fn should_say(&self, words: &str) {
        let says =
            fmt::from_fn(|f| write!(f, "the agent says {words:?}; it said:\n{}", self.said()));
        soon(says, || self.said().contains(words));
    }

    /// How many descriptors it has open. One that has ended has none.
    #[must_use]
    #[track_caller]
    pub fn open_files(&self) -> usize {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let count = listed.map_or(0, Iterator::count);
        assert!(count > 0, "the agent has ended: {}", self.said());
        count
    }

    /// From now on, how many it may have open: `SOFT:HARD`, as prlimit(1) takes it. Those that it has, it keeps.
    #[track_caller]
    pub fn limit_files(&self, limits: &str) {
        let set = Command::new("prlimit")
            .arg(format!("--pid={}", self.child.id()))
            .arg(format!("--nofile={limits}"))
            .status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit {limits}");
    }

    /// `kill -9`
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}
