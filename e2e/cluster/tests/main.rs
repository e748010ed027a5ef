//! vrfgate with a real control plane, which all tests share, one after the other.

#![allow(clippy::float_cmp, reason = "metrics are floats, and count")]

mod accounts;
mod agents;
mod chart;
mod controller;
mod edits;
mod install;
mod kit;
mod kubelet;
mod leaks;
mod newcomer;
mod node;
mod pods;
mod real_node;
mod replicas;
mod scene;
mod stored;
mod suite;
mod validation;
mod vm;
mod whole;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Nodes and leaks belong to the whole cluster.
    arguments.test_threads = Some(1);
    let suite = match suite::Suite::start() {
        Ok(suite) => suite,
        Err(error) => {
            eprintln!("starting a control plane: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let tests = [
        validation::tests(),
        stored::tests(),
        accounts::tests(),
        chart::tests(),
        controller::tests(),
        leaks::tests(),
        node::tests(),
        install::tests(),
        pods::tests(),
        real_node::tests(),
        replicas::tests(),
        kubelet::tests(),
        whole::tests(),
        newcomer::tests(),
    ]
    .concat();
    suite.run(&arguments, tests)
}
