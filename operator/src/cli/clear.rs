//! `vrfgate clear`

use std::process::ExitCode;

use vrfgate_ebpf::Store;

use super::{PortPolicy, Target};
use crate::{
    clear::{self, Cleared},
    leftovers::collect_leftovers,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    ports: PortPolicy,
}

pub(super) fn clear(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let netns = args.target.open()?;
    let Cleared {
        gate,
        routes,
        steering,
    } = super::block_on(clear::clear(store, &netns, args.ports.policy()))?;
    let gate = if gate {
        "the gate is gone, the sysctls are as they were"
    } else {
        "there is no gate"
    };
    let routes = match routes {
        0 => String::new(),
        1 => ", 1 route removed".to_owned(),
        many => format!(", {many} routes removed"),
    };
    let steering = if steering {
        ", reply steering removed"
    } else {
        ""
    };
    println!("{netns}: {gate}{routes}{steering}");
    collect_leftovers(store);
    Ok(ExitCode::SUCCESS)
}
