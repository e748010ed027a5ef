//! What a fleet costs: `NODES` nodes and `LEAKS` leaks with a real API server, one controller, and agents that
//! write the status of their node as real ones do, but have no kernel.
//!
//! Prints a table and writes `target/bench/fleet.json`. Everything runs on one machine, API server and agents
//! included, so times are those of a machine that is busy with all of it.

mod agents;
mod fleet;
mod meter;
mod report;

use std::{env, time::Duration};

use anyhow::Context as _;
use kube::Client;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{runtime::Runtime, time::sleep};
use vrfgate_cluster::{ControlPlane, Helm, apply, token};

use crate::{
    agents::Agents,
    fleet::{Edit, Fleet},
    meter::Controller,
    report::{Phase, Report},
};

/// Where vrfgate runs.
const NAMESPACE: &str = "vrfgate-system";

/// How long to watch a fleet in which nothing happens.
const IDLE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let nodes = number("NODES", 1000)?;
    let leaks = number("LEAKS", 50)?;
    let edits = number("EDITS", 20)?;
    // One connection an agent.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let control_plane = ControlPlane::start()?;
    let report = Runtime::new()?.block_on(run(&control_plane, nodes, leaks, edits))?;
    report.show();
    report.save()
}

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name}={text}: a number")),
        Err(_) => Ok(default),
    }
}

async fn run(
    control_plane: &ControlPlane,
    nodes: usize,
    leaks: usize,
    edits: usize,
) -> anyhow::Result<Report> {
    let admin = control_plane.client(&control_plane.admin()).await?;
    install(&admin).await?;
    let token = token(&admin, NAMESPACE, "vrfgate-controller", None).await?;
    let kubeconfig = control_plane.write_token_kubeconfig("controller", &token)?;
    let fleet = Fleet::create(&admin, nodes, leaks).await?;
    let agents = Agents::start(&admin, fleet.nodes());
    let mut report = Report::new(nodes, leaks);

    let mut controller = Controller::start(control_plane, &kubeconfig)?;
    report.add(
        phase("first start", &controller, &agents, async || {
            fleet.all_ready().await
        })
        .await?,
    );
    for kind in Edit::ALL {
        let phase = phase(kind.name(), &controller, &agents, async || {
            fleet.edits(kind, edits, &agents).await
        });
        report.add(phase.await?);
    }
    let phase_of_idleness = phase("nothing", &controller, &agents, async || {
        sleep(IDLE).await;
        Ok(Phase::default())
    });
    report.add(phase_of_idleness.await?);
    let first = controller.usage()?;
    controller.stop();
    let second = Controller::start(control_plane, &kubeconfig)?;
    let restart = async || {
        Ok(Phase {
            ready: vec![second.looked().await?],
            ..Phase::default()
        })
    };
    report.add(phase("restart", &second, &agents, restart).await?);
    report.memory(first, second.usage()?);
    Ok(report)
}

/// As one installs vrfgate, without the pods: controller and agents are started here.
async fn install(admin: &Client) -> anyhow::Result<()> {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: vrfgate-system}\n";
    apply(admin, namespace).await?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/vrfgate");
    let template = [
        "template",
        "vrfgate",
        chart,
        "--namespace=vrfgate-system",
        "--no-hooks",
    ];
    apply(admin, &Helm::default().run(&template)?).await
}

/// What happens, and what it costs.
async fn phase(
    name: &'static str,
    controller: &Controller,
    agents: &Agents,
    what: impl AsyncFnOnce() -> anyhow::Result<Phase>,
) -> anyhow::Result<Phase> {
    let (before, reports) = (controller.usage()?, agents.reports());
    let phase = what().await.context(name)?;
    Ok(Phase {
        name,
        used: controller.usage()?.since(&before),
        reports: agents.reports() - reports,
        ..phase
    })
}
