//! What the plugin costs a pod: its ADD, that of reference plugins, and a process that does nothing, in turns.
//! `make bench-cni`.
//!
//! In a pod without a VRF, the plugin has nothing to do; that is measured on any kernel. In a pod with a VRF, it attaches a
//! gate; that is measured if the kernel has VRFs, after the reference plugin that makes one.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Call, Plugin, Sandbox};
use serde_json::{Value, json};

const TIMES_WITHOUT: usize = 200;
const TIMES_WITH: usize = 50;

const GOALS: &str = "goals: at most 2 ms above a process that does nothing without a VRF; \
                     at most half of `vrf` with one";

fn main() {
    let plugins = Plugins::find();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let release = release.trim();
    let mut results = vec![without_a_vrf(&plugins)];
    if kernel_has_vrfs() {
        results.push(with_a_vrf(&plugins));
    } else {
        println!("Linux {release} has no VRFs: ADD with one is not measured on it\n");
    }
    println!("{GOALS}");
    if let Some(directory) = env::var_os("BENCH_DIR").map(PathBuf::from) {
        let file = directory.join(format!("cni-{release}.json"));
        let all = json!({"kernel": release, "milliseconds": results});
        fs::create_dir_all(&directory).unwrap();
        fs::write(&file, format!("{all:#}\n")).unwrap();
        println!("written to {}", file.display());
    }
}

struct Plugins {
    /// Those of the specification's authors.
    reference: PathBuf,
    /// Where the plugin is, on a machine that can't see what Cargo has built, or only slowly.
    ours: Option<PathBuf>,
}

impl Plugins {
    fn find() -> Self {
        let reference = env::var_os("CNI_PLUGINS").map(PathBuf::from).expect(
            "CNI_PLUGINS is not set: `make bench-cni` builds the reference plugins and sets it",
        );
        let ours = env::var_os("VRFGATE_CNI").map(PathBuf::from);
        Self { reference, ours }
    }

    fn ours(&self, sandbox: &Sandbox, own: Value) -> Plugin {
        let mut plugin = Sandbox::plugin();
        if let Some(program) = &self.ours {
            plugin.program.clone_from(program);
        }
        if let (Value::Object(all), Value::Object(own)) = (&mut plugin.own, own) {
            all.extend(own);
        }
        // The default on a node.
        sandbox.places(&json!({"logLevel": "info"}));
        plugin
    }

    fn reference(&self, name: &str, own: Value) -> Plugin {
        let program = self.reference.join(name);
        Plugin { program, own }
    }
}

fn nothing() -> Plugin {
    Plugin {
        program: env::var_os("NOTHING").map_or_else(|| "/bin/true".into(), PathBuf::from),
        own: json!({}),
    }
}

fn without_a_vrf(plugins: &Plugins) -> Value {
    let sandbox = Sandbox::new();
    let tuning = plugins.reference("tuning", json!({"dataDir": sandbox.path("tuning")}));
    let columns = ["vrfgate", "tuning", "/bin/true"];
    let calls = [plugins.ours(&sandbox, json!({})), tuning, nothing()]
        .map(|plugin| sandbox.call(&plugin, "ADD", "1.0.0"));
    let mut times = columns.map(|_| Vec::with_capacity(TIMES_WITHOUT));
    // In turns, so that other load on the machine affects all alike.
    for _ in 0..TIMES_WITHOUT {
        for (call, times) in calls.iter().zip(&mut times) {
            times.push(time(call));
        }
    }
    print("ADD in a pod without a VRF", &columns, times)
}

/// Each time in another pod of one node, with a VRF that the reference plugin makes. The first pod also pays for what gates
/// share, and stays, as pods do; the others are removed again.
fn with_a_vrf(plugins: &Plugins) -> Value {
    let node = Sandbox::new();
    let columns = ["vrfgate", "vrf", "tuning", "/bin/true"];
    let mut times = columns.map(|_| Vec::with_capacity(TIMES_WITH));
    let mut first_pod = None;
    for number in 0..TIMES_WITH {
        let sandbox = Sandbox::new();
        let services = json!([{"name": "http", "protocol": "TCP", "port": 8080}]);
        let ours = plugins.ours(&node, json!({"vrf": "BLUE", "services": services}));
        let vrf = plugins.reference("vrf", json!({"vrfname": "BLUE"}));
        let tuning = plugins.reference("tuning", json!({"dataDir": sandbox.path("tuning")}));
        let [ours, vrf, tuning, nothing] =
            [ours, vrf, tuning, nothing()].map(|plugin| sandbox.call(&plugin, "ADD", "1.0.0"));
        let there = sandbox.netns_path();
        let of_vrf = time(&vrf);
        assert!(has_vrf(&there), "the plugin vrf has made none");
        let of_tuning = time(&tuning);
        let ours = ours.with("CNI_CONTAINERID", &format!("pod{number}"));
        let of_ours = time(&ours);
        let pins = sandbox.netns().id().to_string();
        assert!(
            node.path("bpf/vrfgate").join(pins).exists(),
            "our plugin has attached nothing"
        );
        let of_nothing = time(&nothing);
        for (times, time) in times
            .iter_mut()
            .zip([of_ours, of_vrf, of_tuning, of_nothing])
        {
            times.push(time);
        }
        if first_pod.is_some() {
            ours.with("CNI_COMMAND", "DEL").must();
        } else {
            first_pod = Some(sandbox);
        }
    }
    print("ADD in a pod with a VRF", &columns, times)
}

/// A table of medians, each with its ratio to the first reference plugin.
fn print<const N: usize>(title: &str, columns: &[&str; N], times: [Vec<Duration>; N]) -> Value {
    let count = times[0].len();
    let first = times.each_ref().map(|times| milliseconds(times[0]));
    let medians = times.map(|times| milliseconds(median(times)));
    let (reference, nothing) = (medians[1], medians[N - 1]);
    println!("{title}, median of {count}:");
    println!(
        "{:10} {:>10} {:>10} {:>14} {:>17}",
        "plugin",
        "first",
        "median",
        format!("to {}", columns[1]),
        "above /bin/true"
    );
    for ((name, median), first) in columns.iter().zip(medians).zip(first) {
        println!(
            "{name:10} {first:>8.2}ms {median:>8.2}ms {:>14.2} {:>15.2}ms",
            median / reference,
            median - nothing,
        );
    }
    println!();
    let medians = columns.iter().zip(medians);
    let medians = medians.map(|(name, median)| ((*name).to_owned(), json!(median)));
    json!({"title": title, "count": count, "medians": Value::Object(medians.collect())})
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
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

fn kernel_has_vrfs() -> bool {
    let sandbox = Sandbox::new();
    let add = "link add probe type vrf table 4242".split(' ');
    quiet_ip(&sandbox.netns_path(), add)
}

fn has_vrf(netns: &Path) -> bool {
    quiet_ip(netns, "link show BLUE type vrf".split(' '))
}

fn quiet_ip<'a>(netns: &Path, arguments: impl Iterator<Item = &'a str>) -> bool {
    let mut ip = Command::new("nsenter");
    ip.arg(format!("--net={}", netns.display())).arg("ip");
    ip.args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ip.status().expect("nsenter(1) is needed").success()
}
