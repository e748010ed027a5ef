//! `vrfgate agent`

use std::{net::SocketAddr, process::ExitCode};

use vrfgate_ebpf::{Error, Gate, Store, preflight};

use super::{Marks, PortPolicy, Target, install_cni::AgentArgs, signals::Stop};
use crate::{
    agent::{self, Options},
    leftovers::collect_leftovers,
    node::Settings,
    open_files,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    marks: Marks,

    #[command(flatten)]
    ports: PortPolicy,

    /// Name of this node in Kubernetes.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: String,

    /// Where /metrics, /healthz and /readyz are served. Without it: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<SocketAddr>,

    #[command(flatten)]
    install: AgentArgs,
}

pub(super) fn agent(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let open_files = open_files::raise_limit();
    let netns = args.target.open()?;
    // First of all, because everything after it may fail. If this fails, `preflight` finds out why.
    let closed = Gate::close_if_missing(store, &netns);
    let lacks = preflight(store);
    if !lacks.is_empty() {
        return Err(Error::Unsupported(lacks).into());
    }
    closed?;
    collect_leftovers(store);
    let options = Options {
        node: args.node_name.clone(),
        serve_on: args.metrics_addr,
        settings: Settings {
            steer_mask: args.marks.steer_mask,
            shared_ports: args.ports.policy(),
        },
        install: args.install.wanted()?,
        daemon_set: args.install.daemon_set.clone(),
        open_files,
    };
    super::block_on(async {
        let stop = Stop::listen()?.watch();
        Box::pin(agent::run(options, store, netns, stop)).await?;
        Ok(ExitCode::SUCCESS)
    })
}
