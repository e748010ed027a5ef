//! Figures, for people and for programs.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use nix::sys::utsname::uname;
use serde_json::{Value, json};

use crate::meter::Usage;

/// Something that happened, and what it cost.
#[derive(Debug, Default)]
pub struct Phase {
    pub name: &'static str,
    /// How many edits it was; 0 where it wasn't any.
    pub edits: usize,
    /// From an edit until its leak was in force everywhere.
    pub ready: Vec<Duration>,
    /// From an edit until the object reached a node.
    pub told: Vec<Duration>,
    pub used: Usage,
    /// Statuses that agents wrote.
    pub reports: u64,
}

/// All of it.
pub struct Report {
    nodes: usize,
    leaks: usize,
    phases: Vec<Phase>,
    memory: [Usage; 2],
}

impl Report {
    pub fn new(nodes: usize, leaks: usize) -> Self {
        Self {
            nodes,
            leaks,
            phases: Vec::new(),
            memory: Default::default(),
        }
    }

    pub fn add(&mut self, phase: Phase) {
        eprintln!("done: {}", phase.name);
        self.phases.push(phase);
    }

    /// What the controller that did the work used, and the one that found it done.
    pub fn memory(&mut self, worked: Usage, restarted: Usage) {
        self.memory = [worked, restarted];
    }

    pub fn show(&self) {
        let [worked, restarted] = self.memory;
        println!("{} nodes, {} leaks, {}", self.nodes, self.leaks, machine());
        println!(
            "{:<22} {:>7} {:>7} {:>7} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7}",
            "",
            "gates",
            "leaks",
            "agents",
            "told p50",
            "told p99",
            "in force",
            "p99",
            "passes",
            "CPU s"
        );
        for phase in &self.phases {
            let Phase {
                name,
                ready,
                told,
                used,
                ..
            } = phase;
            println!(
                "{name:<22} {:>7.1} {:>7.1} {:>7.1} {:>8} {:>8} {:>8} {:>8} {:>7.1} {:>7.2}",
                phase.each(used.gates),
                phase.each(used.statuses),
                phase.each(reports(phase)),
                seconds(told, 0.5),
                seconds(told, 0.99),
                seconds(ready, 0.5),
                seconds(ready, 0.99),
                phase.each(used.passes),
                phase.each(used.cpu_seconds),
            );
        }
        println!(
            "Writes, passes and CPU of the controller for each edit. Controller: {:.0} MiB, at most {:.0} MiB; \
             after a restart {:.0} MiB, at most {:.0} MiB.",
            worked.resident, worked.peak, restarted.resident, restarted.peak
        );
    }

    pub fn save(&self) -> anyhow::Result<()> {
        let phases = self.phases.iter().map(|phase| {
            let Phase {
                name,
                edits,
                ready,
                told,
                used,
                reports,
            } = phase;
            json!({
                "name": name,
                "edits": edits,
                "inForceSeconds": {"p50": at(ready, 0.5), "p99": at(ready, 0.99)},
                "toldSeconds": {"p50": at(told, 0.5), "p99": at(told, 0.99)},
                "gateWrites": used.gates,
                "leakStatusWrites": used.statuses,
                "otherWrites": used.others,
                "agentWrites": reports,
                "passes": used.passes,
                "passSeconds": used.pass_seconds,
                "cpuSeconds": used.cpu_seconds,
                "residentMiB": used.resident,
            })
        });
        let [worked, restarted] = self.memory;
        let report = json!({
            "date": Timestamp::now().to_string(),
            "machine": machine(),
            "nodes": self.nodes,
            "leaks": self.leaks,
            "phases": phases.collect::<Vec<Value>>(),
            "controllerMiB": {"resident": worked.resident, "peak": worked.peak},
            "restartedControllerMiB": {"resident": restarted.resident, "peak": restarted.peak},
        });
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench");
        fs::create_dir_all(&directory)?;
        let file = directory.join("fleet.json");
        fs::write(&file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", file.display()))
    }
}

impl Phase {
    /// For each edit.
    #[allow(clippy::cast_precision_loss)] // no phase has 2^52 edits
    fn each(&self, amount: f64) -> f64 {
        amount / self.edits.max(1) as f64
    }
}

#[allow(clippy::cast_precision_loss)] // nor so many reports
fn reports(phase: &Phase) -> f64 {
    phase.reports as f64
}

fn machine() -> String {
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let release = uname().map(|names| names.release().to_string_lossy().into_owned());
    format!(
        "{processors} processors, Linux {}",
        release.unwrap_or_default()
    )
}

fn seconds(times: &[Duration], part: f64) -> String {
    at(times, part).map_or_else(String::new, |seconds| format!("{seconds:.2} s"))
}

/// The value below which a part of the times lies.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn at(times: &[Duration], part: f64) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    // Nearest rank.
    let rank = (part * times.len() as f64).ceil() as usize;
    times.get(rank.saturating_sub(1)).map(Duration::as_secs_f64)
}
