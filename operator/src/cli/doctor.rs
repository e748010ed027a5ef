//! `vrfgate doctor`

mod leaks;
mod routing;

use std::{fmt, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use vrfgate_core::{LinkKind, MarkMask, NodeFacts};
use vrfgate_ebpf::{
    Gate, L3mdevAccept, Lack, Netns, Store, kernel_is_concerned, no_tracing, preflight,
    sk_lookup_programs,
};
use vrfgate_machine::kernel_release;

use super::{Marks, Target};
use crate::node::{MarkUser, Watcher, missing_modules, port_clashes, would_wait};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    /// `VrfLeak` YAML, as `run -f` takes it: what would be in force, and what that would open and close.
    #[arg(short, long = "file", num_args = 1.., value_name = "FILE|DIR")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    marks: Marks,
}

/// The result of one check.
enum Finding {
    /// As it should be.
    Good(String),
    /// Works, with something to know.
    Note(String),
    /// The gate can't run.
    Missing(String),
    /// What is wrong with a file.
    Mistake(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(text) => write!(f, "ok       {text}"),
            Self::Note(text) => write!(f, "note     {text}"),
            Self::Missing(text) => write!(f, "MISSING  {text}"),
            Self::Mistake(text) => write!(f, "MISTAKE  {text}"),
        }
    }
}

/// Exits with 1 when something is missing, or a file has a mistake. What leaks would close is no failure.
pub(super) fn doctor(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let netns = args.target.open()?;
    let lacks = preflight(store);
    let mut findings = machine(&lacks);
    findings.push(sysctls(&netns)?);
    if lacks.is_empty() {
        findings.push(programs(store, &netns)?);
    }
    findings.extend(network(&netns, args.marks.steer_mask)?);
    if !args.files.is_empty() {
        findings.extend(leaks::foretell(store, &netns, &args.files)?);
    }
    let bad = |finding: &Finding| matches!(finding, Finding::Missing(_) | Finding::Mistake(_));

    println!("vrfgate {} in {netns}", env!("CARGO_PKG_VERSION"));
    for finding in &findings {
        println!("{finding}");
    }
    Ok(if findings.iter().any(bad) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn machine(lacks: &[Lack]) -> Vec<Finding> {
    let mut findings = vec![];
    if !lacks.iter().any(|lack| matches!(lack, Lack::Kernel { .. })) {
        findings.push(Finding::Good(format!(
            "kernel {} tells a BPF program which VRF a packet came through",
            kernel_release()
        )));
    }
    if lacks.is_empty() {
        findings.push(Finding::Good(
            "BPF file system and capabilities are there".into(),
        ));
    }
    findings.push(match no_tracing() {
        None => Finding::Good("sockets that are bound to a VRF can be traced".into()),
        Some(why) => Finding::Note(format!(
            "{why}: sockets that are bound to a VRF are looked for at intervals instead of traced. One that is new is refused \
             until the next look, some tens of milliseconds for `run` and a second for pods, and for as long as no vrfgate runs"
        )),
    });
    findings.extend(lacks.iter().map(|lack| Finding::Missing(lack.to_string())));
    findings
}

fn sysctls(netns: &Netns) -> anyhow::Result<Finding> {
    let now = L3mdevAccept::read(netns)
        .with_context(|| format!("reading the l3mdev_accept sysctls of {netns}"))?;
    Ok(match (now.tcp, now.udp) {
        (None, _) | (_, None) => Finding::Note(
            "this kernel has no l3mdev_accept sysctls, and so no VRFs: a gate has nothing to do here".into(),
        ),
        (Some(false), Some(false)) => Finding::Good(
            "tcp_l3mdev_accept and udp_l3mdev_accept are 0: no unbound socket is open to a VRF".into(),
        ),
        (Some(tcp), Some(udp)) => Finding::Note(format!(
            "tcp_l3mdev_accept is {}, udp_l3mdev_accept is {}: without a gate, that opens every unbound \
             socket to every VRF",
            u8::from(tcp),
            u8::from(udp)
        )),
    })
}

fn programs(store: &Store, netns: &Netns) -> anyhow::Result<Finding> {
    let ours = match Gate::inspect(store, netns) {
        Ok(gate) => gate.map(|gate| [gate.program_id, gate.guard_program_id]),
        Err(error) => return Ok(Finding::Note(error.to_string())),
    };
    let others: Vec<String> = sk_lookup_programs(netns)?
        .into_iter()
        .filter(|program| !ours.iter().flatten().any(|ours| ours == program))
        .map(|program| program.to_string())
        .collect();
    let gate = match ours {
        Some([gate, guard]) => {
            format!("the gate is in force (program {gate}, and its guard {guard})")
        }
        None => "there is no gate yet".into(),
    };
    Ok(if others.is_empty() {
        Finding::Good(format!("{gate}, and no other sk_lookup program"))
    } else {
        Finding::Note(format!(
            "{gate}; other sk_lookup programs run here too ({}): one that assigns sockets overrides what \
             the gate refuses",
            others.join(", ")
        ))
    })
}

fn network(netns: &Netns, mask: MarkMask) -> anyhow::Result<Vec<Finding>> {
    super::block_on(async {
        let watcher = Watcher::new(netns)?;
        let facts = watcher.facts().await?;
        let clashes = port_clashes(netns, &facts)?;
        let mut findings = vec![vrfs(&facts)];
        findings.extend(routing::findings(&watcher, &facts).await?);
        findings.extend(clashes.iter().map(|clash| Finding::Note(clash.to_string())));
        findings.extend(ports(would_wait(netns, &facts)?));
        findings.extend(steering(mask, &watcher.mark_users(mask).await?));
        Ok(findings)
    })
}

/// Whether shared TCP ports would keep a gate from being attached.
fn ports(waits: Option<String>) -> Option<Finding> {
    match waits {
        Some(why) => Some(Finding::Note(format!("the gate would wait: {why}"))),
        None if kernel_is_concerned() => Some(Finding::Good(
            "no TCP port is shared by a VRF-bound socket and an unbound one: on this kernel, which may crash then, a gate \
             waits while one is"
                .into(),
        )),
        None => None,
    }
}

/// What prevents `replies: Steer`.
fn steering(mask: MarkMask, users: &[MarkUser]) -> Vec<Finding> {
    let missing = missing_modules();
    if !missing.is_empty() {
        return vec![Finding::Note(format!(
            "this kernel has no {}: `replies: Steer` can't be used",
            missing.join(", ")
        ))];
    }
    if users.is_empty() {
        return vec![Finding::Good(format!(
            "nothing else uses the bits {mask} of packets' marks, which `replies: Steer` takes"
        ))];
    }
    let clashes = users.iter().map(|user| {
        Finding::Note(format!(
            "`replies: Steer` takes the bits {mask} of packets' marks, and {user}: choose others by \
             --steer-mask, for `run` as well"
        ))
    });
    clashes.collect()
}

fn vrfs(facts: &NodeFacts) -> Finding {
    let names: Vec<&str> = facts
        .links
        .iter()
        .filter(|link| matches!(link.kind, LinkKind::Vrf { .. }))
        .map(|link| link.name.as_str())
        .collect();
    if names.is_empty() {
        Finding::Note("no VRF here yet (ip link add BLUE type vrf table 10)".into())
    } else {
        Finding::Good(format!("VRFs: {}", names.join(", ")))
    }
}
