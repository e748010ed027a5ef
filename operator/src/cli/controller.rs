//! `vrfgate controller`

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use nix::unistd::gethostname;

use super::signals::Stop;
use crate::controller::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where /metrics, /healthz and /readyz are served. Without it: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<SocketAddr>,

    /// Kubernetes namespace of the lease by which one replica leads. Without it: the one of this pod.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,

    /// Name of that lease.
    #[arg(long, value_name = "NAME", default_value = "vrfgate-controller")]
    lease_name: String,

    /// Identity of this replica in the lease. Without it: host name and process ID.
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
        let stop = Stop::listen()?.watch();
        controller::run(options, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Two processes of one host must differ.
fn own_name() -> anyhow::Result<String> {
    let host = gethostname().context("asking for the host name")?;
    Ok(format!("{}-{}", host.to_string_lossy(), std::process::id()))
}
