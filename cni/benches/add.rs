//! What a pod that has no VRF pays for the plugin: ADD beside that of a reference plugin and beside a process that
//! does nothing, in turns. `make bench-cni`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use common::{Call, Plugin, Sandbox};
use serde_json::json;

const TIMES: usize = 200;

fn main() {
    let sandbox = Sandbox::new();
    let reference = env::var_os("CNI_PLUGINS").map(PathBuf::from).expect(
        "CNI_PLUGINS is not set: `make bench-cni` builds the reference plugins and sets it",
    );
    let own = json!({"dataDir": sandbox.path("run")});
    let tuning = Plugin {
        program: reference.join("tuning"),
        own,
    };
    let nothing = Plugin {
        program: "/bin/true".into(),
        own: json!({}),
    };
    let plugins = [
        ("vrfgate", sandbox.plugin()),
        ("tuning", tuning),
        ("/bin/true", nothing),
    ];
    let calls = plugins.map(|(name, plugin)| (name, sandbox.call(&plugin, "ADD", "1.0.0")));
    let mut times = calls.each_ref().map(|_| Vec::with_capacity(TIMES));
    // In turns, so that what else the machine does is everybody's burden.
    for _ in 0..TIMES {
        for ((_, call), times) in calls.iter().zip(&mut times) {
            times.push(time(call));
        }
    }
    let medians = times.map(median);
    let [_, reference, nothing] = medians;
    println!("ADD in a pod without a VRF, median of {TIMES}:");
    println!(
        "{:10} {:>9} {:>12} {:>16}",
        "plugin", "time", "to tuning", "above /bin/true"
    );
    for ((name, _), median) in calls.iter().zip(medians) {
        println!(
            "{name:10} {:>7.2}ms {:>12.2} {:>14.2}ms",
            median.as_secs_f64() * 1e3,
            median.as_secs_f64() / reference.as_secs_f64(),
            median.saturating_sub(nothing).as_secs_f64() * 1e3,
        );
    }
}

fn time(call: &Call) -> Duration {
    let start = Instant::now();
    call.must();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
