//! vrfgate with a real control plane, which all tests share, one after the other.

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use vrfgate_cluster::ControlPlane;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Nodes and leaks belong to the whole cluster.
    arguments.test_threads = Some(1);
    let cluster = ControlPlane::start().unwrap_or_else(|error| panic!("{error:#}"));
    let cluster = Arc::new(cluster);
    let tests = vec![Trial::test("it_starts", move || {
        let _ = &cluster;
        Ok(())
    })];
    libtest_mimic::run(&arguments, tests).exit_code()
}
