//! `vrfgate clear`

use std::process::ExitCode;

use anyhow::Context as _;
use vrfgate_ebpf::{Error, Gate, Store};

use super::Target;
use crate::node::{Report, Watcher, collect_leftovers};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
}

pub(super) fn clear(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let netns = args.target.open()?;
    // Whoever looks after the namespace would make everything anew: nothing is removed before it is ours.
    let gate = match Gate::open(store, netns.clone()) {
        // Nothing in force, but values to give back; or a gate whose rules can't be read, and need not be.
        Err(Error::NotInForce { .. } | Error::OldLayout { .. }) => None,
        found => found?,
    };
    let (routes, steering) = super::block_on(async {
        let watcher = Watcher::new(&netns)?;
        Ok((
            watcher.clear_routes().await?,
            watcher.clear_steering().await?,
        ))
    })?;
    let found = match gate {
        Some(gate) => gate.detach().map(|()| true)?,
        None => Gate::clean_up(store, &netns)?,
    };
    Report::remove(store, &netns).with_context(|| format!("removing the report of {netns}"))?;
    crate::agent::forget(store, &netns)
        .with_context(|| format!("removing what the agent of {netns} was asked for"))?;
    let gate = if found {
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
