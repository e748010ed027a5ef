//! `vrfgate run`

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use notify::{RecursiveMode, Watcher as _};
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{Signal, SignalKind},
    sync::mpsc,
    time::{Instant, interval_at},
};
use tracing::{info, warn};
use vrfgate_core::Posture;
use vrfgate_ebpf::{Error, Fate, Gate, Netns, Store, preflight};

use super::{
    Marks, PortPolicy, Target,
    signals::{Stop, on},
};
use crate::{
    leak_files::LeakFiles,
    leftovers::collect_leftovers,
    node::{Event, GateMetrics, Keeper, Offer, Settings},
    open_files::raise_limit,
    serve::{self, Health},
};

/// Editors and config managers write a file in several steps; read it after the last.
const FILES_SETTLE: Duration = Duration::from_millis(100);

/// How often leftovers of gates are collected whose namespaces are gone.
const COLLECT_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    /// `VrfLeak` YAML: a file, or a directory of *.yaml, *.yml and *.json. May be given several times.
    #[arg(
        short,
        long = "file",
        required_unless_present = "prepare",
        num_args = 1..,
        value_name = "FILE|DIR"
    )]
    files: Vec<PathBuf>,

    /// Put in a gate that opens nothing, before anybody needs it, and keep it until an agent or another `vrfgate run`
    /// asks for it; then leave. Such a gate stays until `vrfgate clear`. To be started before every network daemon:
    /// sockets that bind while it is there may share TCP ports with those of VRFs, both with `SO_REUSEPORT`.
    #[arg(long, conflicts_with_all = ["files", "metrics_addr"])]
    prepare: bool,

    /// Bring the gate in line and leave: follow no changes. The gate stays in force.
    #[arg(long)]
    once: bool,

    /// Where /metrics, /healthz and /readyz are served. Without it: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    metrics_addr: Option<SocketAddr>,

    #[command(flatten)]
    marks: Marks,

    #[command(flatten)]
    ports: PortPolicy,
}

pub(super) fn run(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    raise_limit();
    let netns = args.target.open()?;
    // First of all, because everything after it may fail. If this fails, `preflight` finds out why.
    let closed = Gate::close_if_missing(store, &netns);
    let files = LeakFiles::new(args.files.clone());
    let lacks = preflight(store);
    if !lacks.is_empty() {
        return Err(Error::Unsupported(lacks).into());
    }
    closed?;
    collect_leftovers(store);
    let settings = Settings {
        steer_mask: args.marks.steer_mask,
        shared_ports: args.ports.policy(),
    };
    if args.prepare {
        return super::block_on(prepare(args.once, store, netns, settings));
    }
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
        let keeper = Keeper::start(store, netns, leaks, settings).await?;
        if args.once {
            in_force(&keeper)?;
        }
        if let Some(address) = args.metrics_addr {
            serve_on(address, store, keeper.netns()).await?;
        }
        if let Some(triggers) = triggers {
            Box::pin(follow(keeper, store, &files, triggers)).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Fails while the gate is pending: nothing would attach it after `--once`.
fn in_force(keeper: &Keeper) -> anyhow::Result<()> {
    match &keeper.report().pending {
        None => Ok(()),
        Some(why) => bail!("{}: no leak is in force: {why}", keeper.netns()),
    }
}

/// Attaches a gate that opens nothing, and keeps it until another process asks for it. Where rules are in force, they
/// stay, and the gate is only marked to stay, too.
async fn prepare(
    once: bool,
    store: &Store,
    netns: Netns,
    settings: Settings,
) -> anyhow::Result<ExitCode> {
    if keeps_rules(store, &netns)? {
        info!(
            "{netns} has a gate with rules already: they stay, and so does the gate until `vrfgate clear`"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut stop = Stop::listen()?;
    let mut keeper = Keeper::start(store, netns, Vec::new(), settings).await?;
    keeper.prepare()?;
    if once {
        in_force(&keeper)?;
        return Ok(ExitCode::SUCCESS);
    }
    let offer = Offer::make(store, keeper.netns()).context("offering the gate")?;
    loop {
        tokio::select! {
            event = keeper.next_event() => match event {
                Event::Gone => {
                    Box::pin(leave(keeper)).await?;
                    return Ok(ExitCode::SUCCESS);
                }
                event => keeper.handle(event).await,
            },
            () = stop.requested() => break,
        }
        if offer.is_taken() {
            info!(
                "another process keeps the gate of {} from now on",
                keeper.netns()
            );
            return Ok(ExitCode::SUCCESS);
        }
        // The gate may have been attached only now, or anew.
        if let Err(error) = keeper.prepare() {
            warn!("{error}");
        }
    }
    info!("leaving; the gate of {} stays in force", keeper.netns());
    Ok(ExitCode::SUCCESS)
}

/// Whether there is a gate that does more than refuse. Marks it to stay.
fn keeps_rules(store: &Store, netns: &Netns) -> Result<bool, Error> {
    let mut gate = match Gate::open(store, netns.clone()) {
        Ok(Some(gate)) => gate,
        Ok(None) | Err(Error::NotInForce { .. } | Error::OldLayout { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut vrfs = gate.status()?.vrfs.into_iter();
    let keeps = vrfs.any(|vrf| vrf.posture != Posture::AsBefore || !vrf.rules.is_empty());
    if keeps {
        gate.prepare()?;
    }
    Ok(keeps)
}

async fn serve_on(address: SocketAddr, store: &Store, netns: &Netns) -> anyhow::Result<()> {
    let mut registry = Registry::with_prefix("vrfgate");
    registry.register_collector(Box::new(GateMetrics::new(store, netns)));
    let gate = GateMetrics::new(store, netns);
    let health: Health = Arc::new(move || gate.unready());
    serve::start(address, Arc::new(registry), health).await
}

/// Events of a running `vrfgate` that don't come from the network: files, and signals.
struct Triggers {
    files_changed: mpsc::Receiver<()>,
    /// Reports changes for as long as it lives.
    _files_watcher: notify::RecommendedWatcher,
    stop: Stop,
    hangup: Signal,
}

impl Triggers {
    fn new(files: &LeakFiles) -> anyhow::Result<Self> {
        let (watcher, files_changed) = watch(files)?;
        Ok(Self {
            files_changed,
            _files_watcher: watcher,
            stop: Stop::listen()?,
            hangup: on(SignalKind::hangup())?,
        })
    }
}

/// Follows files and the namespace until a signal ends it, or the namespace is gone.
async fn follow(
    mut keeper: Keeper,
    store: &Store,
    files: &LeakFiles,
    mut triggers: Triggers,
) -> anyhow::Result<()> {
    let mut collect = interval_at(Instant::now() + COLLECT_EVERY, COLLECT_EVERY);
    loop {
        tokio::select! {
            event = keeper.next_event() => match event {
                Event::Gone => return tokio::select! {
                    left = leave(keeper) => left,
                    () = triggers.stop.requested() => Ok(()),
                },
                event => keeper.handle(event).await,
            },
            _ = collect.tick() => {
                let store = store.clone();
                tokio::task::spawn_blocking(move || collect_leftovers(&store));
            }
            Some(()) = triggers.files_changed.recv() => {
                tokio::time::sleep(FILES_SETTLE).await;
                while triggers.files_changed.try_recv().is_ok() {}
                reload(&mut keeper, files).await;
            }
            _ = triggers.hangup.recv() => reload(&mut keeper, files).await,
            () = triggers.stop.requested() => break,
        }
    }
    info!("leaving; the gate of {} stays in force", keeper.netns());
    Ok(())
}

/// No error: the namespace was removed on purpose.
async fn leave(keeper: Keeper) -> anyhow::Result<()> {
    let netns = keeper.netns().to_string();
    match keeper.leave().await? {
        Fate::Gone => info!("leaving: {netns} is gone, and what was left of its gate is removed"),
        Fate::Alive | Fate::Ending => warn!(
            "leaving: the name of {netns} is gone, and something still uses it; its gate stays in force, and \
             no process keeps it"
        ),
    }
    Ok(())
}

async fn reload(keeper: &mut Keeper, files: &LeakFiles) {
    match files.read() {
        Ok(leaks) => keeper.put_in_force(leaks).await,
        Err(errors) => keeper.report_errors(errors),
    }
}

fn watch(files: &LeakFiles) -> anyhow::Result<(notify::RecommendedWatcher, mpsc::Receiver<()>)> {
    // One is enough: a second change before the first is read is read along with it.
    let (sender, changed) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| !event.kind.is_access()) {
            let _ = sender.try_send(());
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
