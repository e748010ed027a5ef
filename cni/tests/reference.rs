//! The table of `conformance` beside a reference plugin: what it says of them shall be true, too.
//!
//! `make test-cni`: CNI_PLUGINS is where the plugins of the specification's authors are.

mod common;

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use common::{
    Call, Plugin, Sandbox,
    table::{Row, TABLE, play},
};
use serde_json::json;

/// What a chain may lose to vrfgate in a pod that has no VRF, above what starting any process takes.
const PASSING_THROUGH: Duration = Duration::from_millis(2);
/// The quickest of so many tells what something takes on a machine that does other things, too.
const TIMES: usize = 100;

fn tuning(sandbox: &Sandbox) -> Plugin {
    let directory = env::var_os("CNI_PLUGINS")
        .map(PathBuf::from)
        .expect("CNI_PLUGINS is not set: `make test-cni` builds the reference plugins and sets it");
    Plugin {
        program: directory.join("tuning"),
        own: json!({"dataDir": sandbox.path("run")}),
    }
}

/// `tuning` is chained, as vrfgate is.
#[test]
fn tuning_answers_as_the_table_says() {
    let differing = TABLE
        .iter()
        .filter(|row| row.theirs() != row.ours())
        .count();
    let mut alike = 0;
    play(tuning, Row::theirs, |row, _, _, _| {
        alike += usize::from(row.theirs() == row.ours())
    });
    println!(
        "{alike} answers alike; {differing} rows differ, for the reasons that the table gives"
    );
}

#[test]
fn a_pod_without_a_vrf_is_passed_through_within_two_milliseconds() {
    let sandbox = Sandbox::new();
    let nothing = Plugin {
        program: "/bin/true".into(),
        own: json!({}),
    };
    let [vrfgate, tuning, nothing] = [sandbox.plugin(), tuning(&sandbox), nothing]
        .map(|plugin| quickest(&sandbox.call(&plugin, "ADD", "1.0.0")));
    println!(
        "ADD: vrfgate {vrfgate:?}, tuning {tuning:?}, a process that does nothing {nothing:?}"
    );
    assert!(vrfgate <= nothing + PASSING_THROUGH, "{vrfgate:?}");
}

fn quickest(call: &Call) -> Duration {
    let time = |_| {
        let start = Instant::now();
        call.must();
        start.elapsed()
    };
    (0..TIMES).map(time).min().unwrap()
}
