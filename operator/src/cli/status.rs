//! `vrfgate status`

use std::{fmt::Write as _, io, process::ExitCode};

use anyhow::Context as _;
use serde::Serialize;
use vrfgate_core::Opening;
use vrfgate_ebpf::{Gate, GateStatus, Netns, RuleStatus, Store};

use super::{Output, Target, table::columns};
use crate::{
    facts::Clash,
    node::{
        Reason, Repair, Repairs, Report, RouteReport, RouteState, SteeringReport, Watcher,
        port_clashes,
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    /// Form of output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Everything that is known of one namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// Absent when there is no gate.
    gate: Option<GateStatus>,
    #[serde(flatten)]
    report: Report,
    /// Ports that an unbound and a VRF-bound socket both have, now.
    clashes: Vec<Clash>,
}

pub(super) fn status(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let netns = args.target.open()?;
    let status = Status {
        gate: Gate::inspect(store, &netns)?,
        report: report(store, &netns)?,
        clashes: super::block_on(async {
            let facts = Watcher::new(&netns)?.facts().await?;
            Ok(port_clashes(&netns, &facts)?)
        })?,
    };
    match args.output {
        Output::Json => println!(
            "{}",
            serde_json::to_string_pretty(&status).context("writing JSON")?
        ),
        Output::Text => print!("{}", text(&netns.to_string(), &status)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The report that the gate's keeper has written. One that can't be read is a warning: the gate itself is shown anyway.
fn report(store: &Store, netns: &Netns) -> anyhow::Result<Report> {
    match Report::load(store, netns) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Report {
            warnings: vec![format!(
                "the report on leaks and routes can't be read; the process that keeps the gate writes it again at its next \
                 change: {error}"
            )],
            ..Report::default()
        }),
        report => Ok(report
            .with_context(|| format!("reading the report of {netns}"))?
            .unwrap_or_default()),
    }
}

fn text(netns: &str, status: &Status) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    match &status.gate {
        None => writeln!(out, "{netns}: there is no gate")?,
        Some(gate) => {
            writeln!(out, "{netns} (inode {}): the gate is in force", gate.netns)?;
            writeln!(out, "{}", sysctls(gate))?;
            if !gate.tracing {
                writeln!(
                    out,
                    "sockets bound to a VRF are looked for at intervals: this kernel takes no tracing programs"
                )?;
            }
            writeln!(out)?;
            writeln!(out, "{}", vrfs(gate))?;
            if gate.vrfs.iter().any(|vrf| !vrf.rules.is_empty()) {
                writeln!(out, "\n{}", rules(gate))?;
            }
        }
    }
    let Report {
        leaks,
        routes,
        steering,
        errors,
        pending,
        warnings,
        repairs,
    } = &status.report;
    if let Some(why) = pending {
        writeln!(out, "\nThe gate waits, and no leak is in force: {why}")?;
    }
    if !routes.is_empty() {
        writeln!(out, "\n{}", route_table(routes))?;
    }
    if let Some(steering) = steering {
        writeln!(out, "\n{}", steering_table(steering))?;
        if let Some(reason) = &steering.refused {
            writeln!(
                out,
                "\nReply steering is not in force (what was, still is): {reason}"
            )?;
        }
        for note in &steering.notes {
            writeln!(out, "\nReply steering: {note}")?;
        }
        for vrf in &steering.left_out {
            writeln!(
                out,
                "\nUDP answers into VRF {vrf} are not steered: --steer-mask {} has no room for more VRFs",
                steering.mask
            )?;
        }
    }
    for leak in leaks {
        // The reason why the whole gate is pending stands above.
        let pending = leak.reason == Some(Reason::PortShared);
        for note in leak.notes.iter().filter(|_| !pending) {
            writeln!(out, "\nLeak {} {note}", leak.name)?;
        }
    }
    if !repairs.all().is_empty() {
        writeln!(out, "\n{}", repair_table(repairs))?;
    }
    for warning in warnings {
        writeln!(out, "\nWarning: {warning}")?;
    }
    for clash in &status.clashes {
        writeln!(out, "\n{clash}")?;
    }
    for error in errors {
        writeln!(out, "\nNot in force (what was, still is): {error}")?;
    }
    Ok(out)
}

fn sysctls(gate: &GateStatus) -> String {
    let show = |value: Option<bool>| match value {
        Some(true) => "1",
        Some(false) => "0",
        None => "absent",
    };
    let (now, former) = (gate.sysctls.now, gate.sysctls.former);
    format!(
        "tcp_l3mdev_accept {} (was {}), udp_l3mdev_accept {} (was {})",
        show(now.tcp),
        show(former.tcp),
        show(now.udp),
        show(former.udp)
    )
}

fn vrfs(gate: &GateStatus) -> String {
    let rows = gate.vrfs.iter().map(|vrf| {
        [
            vrf.name.clone(),
            vrf.ifindex.to_string(),
            vrf.posture.to_string(),
            vrf.hits.refused.to_string(),
            vrf.hits.would_refuse.to_string(),
        ]
    });
    columns(
        ["VRF", "INDEX", "MODE", "REFUSED", "WOULD REFUSE"],
        rows.collect(),
    )
}

fn rules(gate: &GateStatus) -> String {
    let rows = gate.vrfs.iter().flat_map(|vrf| {
        vrf.rules.iter().flat_map(|RuleStatus { rule, hits }| {
            rule.opens.iter().enumerate().map(|(place, opening)| {
                // What a rule has once stands in the first of its rows.
                let once = |text: String| if place == 0 { text } else { String::new() };
                [
                    once(vrf.name.clone()),
                    once(rule.name.clone()),
                    opening.to_string(),
                    list(&places(opening), "-"),
                    once(list(&rule.sources, "any")),
                    once(hits.passed.to_string()),
                    once(hits.refused.to_string()),
                ]
            })
        })
    });
    columns(
        ["VRF", "RULE", "OPENS", "ON", "TO", "PASSED", "REFUSED"],
        rows.collect(),
    )
}

/// Local addresses, and prefixes that are local as a whole.
fn places(opening: &Opening) -> Vec<String> {
    let addresses = opening.addresses.iter().map(ToString::to_string);
    addresses
        .chain(opening.prefixes.iter().map(ToString::to_string))
        .collect()
}

/// One an indented line below the other, so that many addresses don't tear the table apart.
fn list<T: ToString>(items: &[T], none: &str) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join("\n")
}

/// The latest first.
fn repair_table(repairs: &Repairs) -> String {
    let rows = repairs.all().iter().rev().map(|repair| {
        let Repair {
            what,
            count,
            first: _,
            last,
        } = repair;
        [
            what.clone(),
            count.to_string(),
            last.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        ]
    });
    columns(["REPAIRED", "TIMES", "LAST"], rows.collect())
}

fn route_table(routes: &[RouteReport]) -> String {
    let rows = routes.iter().map(|route| {
        let state = match &route.state {
            RouteState::Made => "made".to_owned(),
            RouteState::SomebodyElses(theirs) => {
                format!("somebody else's `{theirs}` stands there, left alone")
            }
            RouteState::Overruled(theirs) => {
                format!("somebody else's `{theirs}` is used instead, left alone")
            }
            RouteState::Refused(reason) => format!("refused: {reason}"),
        };
        [route.leak.clone(), route.route.clone(), state]
    });
    columns(["LEAK", "ROUTE", "STATE"], rows.collect())
}

fn steering_table(steering: &SteeringReport) -> String {
    let rows = steering.vrfs.iter().map(|vrf| {
        [
            vrf.vrf.clone(),
            list(&vrf.services, "-"),
            format!("{:#x}/{}", vrf.mark, steering.mask),
            vrf.zone.to_string(),
            vrf.table.to_string(),
        ]
    });
    columns(
        ["VRF", "ANSWERS STEERED", "MARK", "ZONE", "TABLE"],
        rows.collect(),
    )
}
