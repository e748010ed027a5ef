//! The agent of this node, as a process.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use vrfgate_e2e::{Started, program};

use crate::log;

/// Name of the node, which is the same in every test.
pub const NODE: &str = "real";

/// An agent that can be started and killed.
pub struct Agent {
    /// How it finds the API server.
    kubeconfig: PathBuf,
    /// Where its log is kept.
    log: PathBuf,
    running: Option<Child>,
}

impl Agent {
    pub fn new(kubeconfig: PathBuf, log: PathBuf) -> Self {
        Self {
            kubeconfig,
            log,
            running: None,
        }
    }

    pub fn start(&mut self) {
        self.kill();
        let agent = Command::new(program())
            .args(["agent", "--node-name", NODE])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(&self.log))
            .started();
        self.running = Some(agent.unwrap_or_else(|error| panic!("starting the agent: {error}")));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.running.take() {
            let ended = agent.try_wait();
            assert!(
                matches!(ended, Ok(None)),
                "the agent has ended by itself: {ended:?}"
            );
            let killed = agent.kill().and_then(|()| agent.wait());
            killed.unwrap_or_else(|error| panic!("killing the agent: {error}"));
        }
    }
}
