//! `vrfgate run`

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use notify::{RecursiveMode, Watcher as _};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tracing::{error, info, warn};
use vrfgate_ebpf::{Error, Gate, Netns, Store, preflight};

use super::Target;
use crate::{
    compile::Leak,
    node::{Engine, LeakFiles, LeakState, Outcome, Report, RouteState, Watcher},
};

/// How often the kernel is asked whether the gate is still in force. A gate that somebody detaches leaves
/// the door open for no longer than this.
const VERIFY_EVERY: Duration = Duration::from_secs(1);

/// Editors and config managers write a file in several steps; read it after the last.
const FILES_SETTLE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    /// `VrfLeak` YAML: a file, or a directory of *.yaml, *.yml and *.json. May be given several times.
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE|DIR")]
    files: Vec<PathBuf>,

    /// Bring the gate in line and leave: follow no changes. The gate stays in force.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let netns = args.target.open()?;
    // First of all, because everything after it may fail. Where this fails, what the machine lacks is why.
    let closed = Gate::close_if_missing(store, &netns);
    let files = LeakFiles::new(args.files.clone());
    let lacks = preflight(store);
    if !lacks.is_empty() {
        return Err(Error::Unsupported(lacks).into());
    }
    closed?;
    super::block_on(async {
        // Before anything is read or done, so that no change and no signal falls into a gap.
        let triggers = if args.once {
            None
        } else {
            Some(Triggers::new(&files)?)
        };
        let leaks = match files.read() {
            Ok(leaks) => leaks,
            Err(errors) => bail!("nothing was changed: {}", errors.join("\nvrfgate: ")),
        };
        let mut node = Node::start(store, netns, leaks).await?;
        if let Some(triggers) = triggers {
            node.follow(&files, triggers).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What makes a running `vrfgate` look again, or leave, besides the network itself.
struct Triggers {
    files_changed: mpsc::Receiver<()>,
    /// Tells of changes for as long as it lives.
    _files_watcher: notify::RecommendedWatcher,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Triggers {
    fn new(files: &LeakFiles) -> anyhow::Result<Self> {
        let (watcher, files_changed) = watch(files)?;
        Ok(Self {
            files_changed,
            _files_watcher: watcher,
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }
}

/// One namespace that is being looked after.
struct Node {
    store: Store,
    engine: Engine,
    watcher: Watcher,
    leaks: Vec<Leak>,
    /// Last report written, so that only changes are written and logged.
    report: Option<Report>,
}

impl Node {
    /// Fails, and changes nothing, when the leaks can't be put into force.
    async fn start(store: &Store, netns: Netns, leaks: Vec<Leak>) -> anyhow::Result<Self> {
        let mut node = Self {
            store: store.clone(),
            watcher: Watcher::new(&netns)?,
            engine: Engine::new(store.clone(), netns),
            leaks,
            report: None,
        };
        node.reconcile().await?;
        Ok(node)
    }

    /// Until a signal says to stop.
    async fn follow(&mut self, files: &LeakFiles, mut triggers: Triggers) -> anyhow::Result<()> {
        let mut verify = tokio::time::interval_at(Instant::now() + VERIFY_EVERY, VERIFY_EVERY);
        verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                connected = self.watcher.changed() => {
                    if !connected {
                        self.watcher = Watcher::new(self.engine.netns())?;
                    }
                    self.reconcile_or_report().await;
                }
                Some(()) = triggers.files_changed.recv() => {
                    tokio::time::sleep(FILES_SETTLE).await;
                    while triggers.files_changed.try_recv().is_ok() {}
                    self.reload(files).await;
                }
                _ = triggers.hangup.recv() => self.reload(files).await,
                _ = verify.tick() => self.keep().await,
                _ = triggers.terminate.recv() => break,
                _ = triggers.interrupt.recv() => break,
            }
        }
        info!(
            "leaving; the gate of {} stays in force",
            self.engine.netns()
        );
        Ok(())
    }

    /// Puts right what something else has done to gate or sysctls.
    async fn keep(&mut self) {
        match self.engine.keep() {
            Ok(false) => {}
            Ok(true) => warn!(
                "something had changed the l3mdev_accept sysctls of {}; set them again",
                self.engine.netns()
            ),
            Err(error) => warn!("{error}"),
        }
        // Also when it could not be put in at the last try.
        if !self.engine.has_gate() {
            self.reconcile_or_report().await;
        }
    }

    async fn reload(&mut self, files: &LeakFiles) {
        match files.read() {
            Ok(leaks) => {
                self.leaks = leaks;
                self.reconcile_or_report().await;
            }
            Err(errors) => self.report_errors(errors),
        }
    }

    async fn reconcile_or_report(&mut self) {
        if let Err(error) = self.reconcile().await {
            self.report_errors(vec![format!("{error:#}")]);
        }
    }

    async fn reconcile(&mut self) -> anyhow::Result<()> {
        let facts = self.watcher.facts().await?;
        let Outcome {
            desired,
            attached,
            renewed,
            changes,
        } = self.engine.reconcile(&self.leaks, &facts)?;
        if attached {
            info!("the gate of {} is in force", self.engine.netns());
        } else if renewed {
            info!(
                "the gate of {} was another version's and runs this one's program now; rules and counters \
                 stayed",
                self.engine.netns()
            );
        } else if changes.written + changes.removed > 0 {
            info!(
                "the gate of {} follows: {} entries written, {} removed",
                self.engine.netns(),
                changes.written,
                changes.removed
            );
        }
        // The gate is in force before packets find their way to it.
        let routes = self.watcher.reconcile_routes(&desired.routes).await?;
        if routes.made + routes.removed > 0 {
            info!(
                "leak routes of {}: {} made, {} removed",
                self.engine.netns(),
                routes.made,
                routes.removed
            );
        }
        self.write_report(Report::new(&self.leaks, &desired, &routes, &facts));
        Ok(())
    }

    /// What is in force stays; the reason why it isn't what was asked for goes to log and status.
    fn report_errors(&mut self, errors: Vec<String>) {
        let last = self.report.clone().unwrap_or_default();
        if errors == last.errors {
            return;
        }
        for error in &errors {
            error!("not in force what was asked for: {error}");
        }
        self.write_report(Report { errors, ..last });
    }

    fn write_report(&mut self, report: Report) {
        let last = self.report.as_ref();
        if last == Some(&report) {
            return;
        }
        for leak in &report.leaks {
            if last.is_some_and(|last| last.leaks.contains(leak)) {
                continue;
            }
            if leak.state == LeakState::InForce {
                info!("leak {} is in force in VRF {}", leak.name, leak.vrf);
            }
            for note in &leak.notes {
                warn!("leak {} {note}", leak.name);
            }
        }
        for route in &report.routes {
            if last.is_some_and(|last| last.routes.contains(route)) {
                continue;
            }
            match &route.state {
                RouteState::Made => {}
                RouteState::SomebodyElses => info!(
                    "leak {}: somebody else's route stands in the place of `{}`, and was left alone",
                    route.leak, route.route
                ),
                RouteState::Refused(reason) => warn!(
                    "leak {}: making the route `{}`: {reason}",
                    route.leak, route.route
                ),
            }
        }
        if let Err(error) = report.save(&self.store, self.engine.netns()) {
            warn!("writing the report for `vrfgate status`: {error}");
        }
        self.report = Some(report);
    }
}

fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("listening for signals")
}

fn watch(files: &LeakFiles) -> anyhow::Result<(notify::RecommendedWatcher, mpsc::Receiver<()>)> {
    // One is enough: a second change before the first is read is read along with it.
    let (tell, changed) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| !event.kind.is_access()) {
            let _ = tell.try_send(());
        }
    })
    .context("watching files")?;
    for directory in files.directories() {
        watcher
            .watch(&directory, RecursiveMode::NonRecursive)
            .map_err(io::Error::other)
            .with_context(|| format!("watching {}", directory.display()))?;
    }
    Ok((watcher, changed))
}
