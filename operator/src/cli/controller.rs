//! `vrfgate controller`

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use nix::unistd::gethostname;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::controller::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where /metrics, /healthz and /readyz are served. Without it: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<SocketAddr>,

    /// Kubernetes namespace of the lease that says which replica leads. Without it: the one this pod is in.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,

    /// Name of that lease.
    #[arg(long, value_name = "NAME", default_value = "vrfgate-controller")]
    lease_name: String,

    /// What this replica calls itself there. Without it: host name and process.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
}

pub(super) fn controller(args: &Args) -> anyhow::Result<ExitCode> {
    let options = Options {
        serve_on: args.metrics_addr,
        lease_namespace: args.lease_namespace.clone(),
        lease_name: args.lease_name.clone(),
        identity: match &args.identity {
            Some(identity) => identity.clone(),
            None => own_name()?,
        },
    };
    super::block_on(async {
        let stop = stop_on_signal()?;
        controller::run(options, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Two processes of one host must not take each other for themselves.
fn own_name() -> anyhow::Result<String> {
    let host = gethostname().context("asking for the host name")?;
    Ok(format!("{}-{}", host.to_string_lossy(), std::process::id()))
}

/// Turns true when the process is asked to end.
pub(super) fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = stop.send(true);
        // The receivers outlive this task; the value must, too.
        stop.closed().await;
    });
    Ok(stopped)
}
