//! The controller under measurement, and what it uses.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};
use vrfgate_cluster::{ControlPlane, Pages, Process, free_port};

use crate::NAMESPACE;

/// How long its start may take.
const START_TIMEOUT: Duration = Duration::from_mins(5);

/// Hundredths of a second, in which Linux counts a process's time.
const TICK: f64 = 0.01;

/// A controller at work.
pub struct Controller {
    process: Process,
    pages: Pages,
}

/// What it has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub gates: f64,
    pub statuses: f64,
    pub others: f64,
    pub passes: f64,
    pub pass_seconds: f64,
    pub cpu_seconds: f64,
    /// Memory now, and at its most, in MiB.
    pub resident: f64,
    pub peak: f64,
}

impl Usage {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            gates: self.gates - before.gates,
            statuses: self.statuses - before.statuses,
            others: self.others - before.others,
            passes: self.passes - before.passes,
            pass_seconds: self.pass_seconds - before.pass_seconds,
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            resident: self.resident,
            peak: self.peak,
        }
    }
}

impl Controller {
    pub fn start(control_plane: &ControlPlane, kubeconfig: &Path) -> anyhow::Result<Self> {
        // Built with the same profile as this program, two directories above it.
        let own = std::env::current_exe()?;
        let program = own.ancestors().nth(2).map(|target| target.join("vrfgate"));
        let program = program.filter(|program| program.exists());
        let program = program.context("vrfgate isn't built; `make bench-fleet` builds it")?;
        let port = free_port()?;
        let arguments = [
            "controller".to_owned(),
            format!("--metrics-addr=127.0.0.1:{port}"),
            format!("--lease-namespace={NAMESPACE}"),
        ];
        let environment = [("KUBECONFIG", kubeconfig.display().to_string())];
        let home = control_plane.home();
        let process = Process::start("controller", &program, &arguments, &environment, home)?;
        Ok(Self {
            process,
            pages: Pages { port },
        })
    }

    /// Ends it; the next one needn't wait for the lease.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Waits until it has looked at the whole fleet. Returns how long that took.
    pub async fn looked(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        while self.pages.metric("vrfgate_controller_pass_seconds_count") < 1.0 {
            let words = self.process.last_words();
            ensure!(began.elapsed() < START_TIMEOUT, "no look yet: {words}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(began.elapsed())
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        let written = |what: &str| {
            let name = format!("vrfgate_controller_writes_total{{what=\"{what}\"}}");
            self.pages.metric(&name)
        };
        let id = self.process.id();
        let stat = read(id, "stat")?;
        // After the name, which may hold anything: state is the 3rd field, user and system time are 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
        let times = fields.split(' ').skip(11).take(2);
        let ticks: f64 = times.filter_map(|time| time.parse::<f64>().ok()).sum();
        let status = read(id, "status")?;
        let mebibytes = |field: &str| -> anyhow::Result<f64> {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            let kibibytes: f64 = kibibytes.with_context(|| format!("/proc/PID/status: {field}"))?;
            Ok(kibibytes / 1024.0)
        };
        Ok(Usage {
            gates: written("gate"),
            statuses: written("status"),
            others: written("finalizer") + written("event"),
            passes: self.pages.metric("vrfgate_controller_pass_seconds_count"),
            pass_seconds: self.pages.metric("vrfgate_controller_pass_seconds_sum"),
            cpu_seconds: ticks * TICK,
            resident: mebibytes("VmRSS")?,
            peak: mebibytes("VmHWM")?,
        })
    }
}

fn read(id: u32, name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{id}/{name}");
    fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}
