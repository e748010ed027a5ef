//! What the benchmarks share: series of measurements and their middle, the machine they were made on, the programs
//! that the gate is held against, and where results go.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::{env, fs, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, SkLookup, sk_lookup::SkLookupLink},
};
use serde_json::{Value, json};

/// The object of `program/src/bin/bench.rs`.
static PROGRAMS: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/bench.bpf.o"));

/// The programs of the benchmarks, in the kernel.
pub fn load_programs() -> Ebpf {
    EbpfLoader::new()
        .load(PROGRAMS)
        .unwrap_or_else(|error| panic!("loading the programs of the benchmarks: {error}"))
}

/// One of them by name.
pub fn program<'a>(programs: &'a mut Ebpf, name: &str) -> &'a mut SkLookup {
    let program = programs.program_mut(name);
    let program: &mut SkLookup = program
        .unwrap_or_else(|| panic!("bench.bpf.o has no program {name}: run `make object`"))
        .try_into()
        .unwrap();
    match program.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => program,
        Err(error) => panic!("loading the program {name}: {error}"),
    }
}

/// Attaches a program until the link is dropped.
pub fn attach(program: &mut SkLookup, netns: &vrfgate_ebpf::Netns) -> SkLookupLink {
    let link = program
        .attach(netns)
        .unwrap_or_else(|error| panic!("attaching to {netns}: {error}"));
    program.take_link(link).unwrap()
}

/// Measurements of one thing.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

/// The middle of a series, and between what its middle half lies.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| sorted[(sorted.len() - 1) * quarter / 4];
        Spread {
            median: at(2),
            low: at(1),
            high: at(3),
        }
    }

    pub fn median(&self) -> f64 {
        self.spread().median
    }

    /// Each measurement beside the one that another thing gave in the same round.
    pub fn beside(&self, other: &Self, compare: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(own, other)| compare(*own, *other)).collect())
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Spread {
    pub fn json(self) -> Value {
        let Self { median, low, high } = self;
        json!({"median": rounded(median), "low": rounded(low), "high": rounded(high)})
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A number from the environment: how long a benchmark takes is the caller's choice.
pub fn setting(name: &str, otherwise: usize) -> usize {
    env::var(name).map_or(otherwise, |value| {
        let number = value.parse();
        number.unwrap_or_else(|_| panic!("{name}={value} is not a number"))
    })
}

/// What a figure is worth nothing without.
pub fn machine() -> Value {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, model)| model);
    json!({
        "cpu": cpu,
        "cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "date": jiff::Timestamp::now().strftime("%-d %B %Y").to_string(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}

/// Writes results to `bench/NAME.json` in Cargo's target directory, or in `BENCH_DIR`.
pub fn save(name: &str, results: &Value) {
    let directory = directory();
    let file = directory.join(format!("{name}.json"));
    fs::create_dir_all(&directory).unwrap();
    fs::write(&file, format!("{results:#}\n")).unwrap();
    println!("written to {}", file.display());
}

/// Where results are.
pub fn directory() -> PathBuf {
    env::var_os("BENCH_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench"),
        PathBuf::from,
    )
}

/// "met" or "missed".
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}
