//! `vrfgate withdraw` and `vrfgate check-nodes`

use std::{process::ExitCode, time::Duration};

use crate::{
    daemon_set::DaemonSetName,
    jobs::{self, Verdict},
};

#[derive(Debug, clap::Args)]
pub(super) struct WithdrawArgs {
    /// How long to wait for the nodes, such as 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    timeout: Duration,

    /// The agents' `DaemonSet`, to be deleted when no node holds a leak any more. Without it: agents keep running.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    daemon_set: Option<DaemonSetName>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckNodesArgs {
    /// How long to wait until there is no problem, such as 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

pub(super) fn withdraw(args: &WithdrawArgs) -> anyhow::Result<ExitCode> {
    let WithdrawArgs {
        timeout,
        daemon_set,
    } = args;
    super::block_on(jobs::withdraw(*timeout, daemon_set.as_ref()))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check_nodes(args: &CheckNodesArgs) -> anyhow::Result<ExitCode> {
    let Verdict {
        nodes,
        in_force,
        waiting,
        problems,
    } = super::block_on(jobs::check(args.timeout))?;
    println!("nodes that have put their generation into force: {nodes}");
    println!("VrfLeaks in force: {in_force}, waiting for a VRF, a node or a pod: {waiting}");
    for problem in &problems {
        println!("PROBLEM {problem}");
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("{text:?} is not a time such as 90s or 5m"))
}
