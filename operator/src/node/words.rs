//! Findings and repairs, in sentences for log and report.

use tracing::{error, info, warn};
use vrfgate_ebpf::{OtherProgram, Repaired, Unlisted};

use super::{LeakState, Reason, Report, RouteState, SteeringReport};

/// How the gate was repaired, a sentence for each repair.
pub(super) fn repaired(repair: Repaired) -> Vec<String> {
    match repair {
        Repaired::Sysctls { found, set } => {
            let switches = [("tcp", found.tcp, set.tcp), ("udp", found.udp, set.udp)];
            let changed = switches.into_iter().filter_map(|(protocol, found, set)| {
                let (found, set) = (u8::from(found?), u8::from(set?));
                (found != set).then(|| {
                    format!(
                        "net.ipv4.{protocol}_l3mdev_accept had been set to {found}; set it to {set} again"
                    )
                })
            });
            changed.collect()
        }
        Repaired::Link => vec![
            "one of the gate's two links had been detached; put in a new pair (the other decided meanwhile)"
                .into(),
        ],
        Repaired::Pins => {
            vec!["the gate's pins had been removed; pinned the same program and maps again".into()]
        }
        Repaired::Tracker => vec![
            "the tracker of bound listeners had been removed; made a new one, and the gate asks it"
                .into(),
        ],
        Repaired::Record => vec!["the gate's record had been removed; wrote it again".into()],
    }
}

/// The policy rule of the local table has moved.
pub(super) fn local_rule_moved(family: &str, from: Option<u32>, to: Option<u32>) -> String {
    let place = |preference: Option<u32>| match preference {
        Some(preference) => format!("at preference {preference}"),
        None => "nowhere".into(),
    };
    format!(
        "the local table of {family} is looked up {}, and was {} before; the routes of leaks deliver under either order",
        place(to),
        place(from)
    )
}

/// Programs that may override what the gate refuses.
pub(super) fn overridden(others: &[OtherProgram]) -> Vec<String> {
    others
        .iter()
        .filter(|program| program.may_assign)
        .map(|program| {
            format!(
                "another sk_lookup {program} runs here and may assign sockets, which overrides what the gate \
                 refuses"
            )
        })
        .collect()
}

/// What follows from sockets that the kernel doesn't list.
pub(super) fn unlisted(unlisted: Unlisted) -> String {
    format!(
        "{unlisted}; the gate refuses what is for sockets that were bound to a VRF before it came, unless a leak opens it"
    )
}

/// Logs what a report has and the last one has not.
pub(super) fn log_changes(last: &Report, report: &Report) {
    for error in &report.errors {
        if !last.errors.contains(error) {
            error!("what was asked for is not in force: {error}");
        }
    }
    if let Some(why) = &report.pending
        && last.pending.as_ref() != Some(why)
    {
        warn!("the gate waits, and no leak is in force: {why}");
    }
    for warning in &report.warnings {
        if !last.warnings.contains(warning) {
            warn!("{warning}");
        }
    }
    for leak in &report.leaks {
        if last.leaks.contains(leak) {
            continue;
        }
        if leak.state == LeakState::InForce {
            info!("leak {} is in force in VRF {}", leak.name, leak.vrf);
        }
        // Why the gate as a whole waits is logged once.
        let pending = leak.reason == Some(Reason::PortShared);
        for note in leak.notes.iter().filter(|_| !pending) {
            warn!("leak {} {note}", leak.name);
        }
    }
    for route in &report.routes {
        if last.routes.contains(route) {
            continue;
        }
        match &route.state {
            RouteState::Made => {}
            RouteState::SomebodyElses(theirs) => warn!(
                "leak {}: somebody else's route `{theirs}` stands in the place of `{}`, and was left alone",
                route.leak, route.route
            ),
            RouteState::Overruled(theirs) => warn!(
                "leak {}: the kernel uses somebody else's route `{theirs}` instead of `{}`; both were left alone",
                route.leak, route.route
            ),
            RouteState::Refused(reason) => warn!(
                "leak {}: making the route `{}`: {reason}",
                route.leak, route.route
            ),
        }
    }
    if let Some(steering) = &report.steering
        && last.steering.as_ref() != Some(steering)
    {
        log_steering(steering);
    }
}

fn log_steering(steering: &SteeringReport) {
    if let Some(reason) = &steering.refused {
        warn!("reply steering is not in force: {reason}");
    }
    for note in &steering.notes {
        warn!("reply steering: {note}");
    }
    for vrf in &steering.left_out {
        warn!(
            "UDP answers into VRF {vrf} are not steered: --steer-mask {} has no room for more VRFs",
            steering.mask
        );
    }
}
