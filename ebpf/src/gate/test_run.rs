//! Methods for tests and benchmarks only.

use std::os::fd::AsFd as _;

use super::Gate;
use crate::{
    Error, Events, TestPacket, TestRun,
    error::{Doing, map_error},
    test_run,
};

impl Gate {
    /// Refusals as they are decided. Each is handed to one reader only.
    pub fn events(&self) -> Result<Events, Error> {
        Events::open(&self.store.pins(self.netns.id()))
            .map_err(|cause| map_error("reading the events of", &self.netns, cause))
    }

    /// Runs the gate's program on a made-up packet (`BPF_PROG_TEST_RUN`), `repeat` times. The kernel takes
    /// no interface number for it: the packet comes from the VRF that the rules call 0. It counts as real.
    pub fn test_run(&self, packet: &TestPacket, repeat: u32) -> Result<TestRun, Error> {
        test_run(self.attached.gate.program().as_fd(), packet, repeat)
            .doing(|| format!("running the gate of {} on a test packet", self.netns))
    }
}
