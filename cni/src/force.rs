//! Brings the gate of a pod's namespace in line with the attachments there.

use std::io;

use tracing::warn;
use vrfgate_ebpf::{
    Capacity, Error, Gate, GateStatus, Mode, Netns, Rule, RuleSet, SharedPorts, Store, VrfStatus,
};

use crate::{Attachment, Facts, left_out, rule_set};

/// Puts the rules of these attachments, and no others, into force: in the gate that is there, or in a new one. One that
/// contradicts an earlier one is left out, which the log tells.
/// Without any attachment, the gate goes. On an error, what was in force stays.
///
/// The caller sees to it that nobody else does the same at the same time.
pub fn bring_in_line(
    store: &Store,
    netns: &Netns,
    attachments: &[Attachment],
    facts: &Facts,
) -> Result<(), Error> {
    if attachments.is_empty() {
        return take_away(store, netns);
    }
    let vrfs = facts.vrfs().map(|vrf| vrf.name.as_str());
    for contradiction in left_out(attachments, vrfs) {
        warn!("{}: left out: {contradiction}", contradiction.later);
    }
    let rules = rule_set(attachments, facts);
    match change(store, netns, &rules) {
        Ok(true) => return Ok(()),
        Ok(false) | Err(Error::OldLayout { .. }) => {}
        // The sysctls are 0 by now.
        Err(error @ Error::NotInForce { .. }) => warn!("{error}; putting in a new one"),
        Err(error) => return Err(error),
    }
    Gate::attach(store, netns.clone(), &rules, &Capacity::of_pod(&rules)).map(drop)
}

/// Changes the gate that is there. False when there is none.
fn change(store: &Store, netns: &Netns, rules: &RuleSet) -> Result<bool, Error> {
    let Some(mut gate) = Gate::open(store, netns.clone())? else {
        return Ok(false);
    };
    if !gate.is_current()? {
        gate.renew()?;
    }
    gate.apply(rules)?;
    Ok(true)
}

fn take_away(store: &Store, netns: &Netns) -> Result<(), Error> {
    match Gate::open(store, netns.clone()) {
        Ok(Some(gate)) => gate.detach()?,
        Ok(None) | Err(Error::OldLayout { .. } | Error::NotInForce { .. }) => {
            Gate::clean_up(store, netns, SharedPorts::Refuse)?;
        }
        Err(error) => return Err(error),
    }
    // An agent that was here has left its report.
    match store.remove_files(netns.id()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::Io {
            doing: format!("removing the files of the gate of {netns}"),
            cause,
        }),
        _ => Ok(()),
    }
}

/// What a gate lacks of the rules that it should have, in words. More than those is fine: an agent adds some.
pub(crate) fn lacking(found_gate: &GateStatus, wanted_set: &RuleSet) -> Vec<String> {
    let mut lacking = Vec::new();
    if found_gate.sysctls.now.tcp == Some(false) {
        lacking
            .push("net.ipv4.tcp_l3mdev_accept is 0, and no server is open to any VRF".to_owned());
    }
    for (ifindex, wanted) in &wanted_set.vrfs {
        let name = &wanted.name;
        let Some(found) = found_gate.vrfs.iter().find(|vrf| vrf.ifindex == *ifindex) else {
            lacking.push(format!("VRF {name} is not gated"));
            continue;
        };
        let slaves = wanted_set.slaves.iter().filter(|(_, vrf)| *vrf == ifindex);
        for (slave, _) in slaves.filter(|(slave, _)| !found.slaves.contains(slave)) {
            lacking.push(format!(
                "device {slave}, a slave of VRF {name}, is not gated"
            ));
        }
        // An agent leaves a VRF that nothing names as it was, which is closed where the sysctl was 0.
        let was_open = found_gate.sysctls.former.tcp == Some(true);
        if found.mode == Mode::AsBefore && was_open {
            lacking.push(format!("VRF {name} is not enforced"));
        }
        for rule in &wanted.rules {
            for opening in rule.opens.iter().filter(|_| !is_open(found, rule)) {
                lacking.push(format!(
                    "VRF {name}: {opening} of {} is not open as it should be",
                    rule.name,
                ));
            }
        }
    }
    lacking
}

/// Whether a VRF's rules open all that this one opens, to the same clients. Whose rules they are doesn't matter.
fn is_open(vrf: &VrfStatus, wanted: &Rule) -> bool {
    let rules = || vrf.rules.iter().map(|found| &found.rule);
    wanted.opens.iter().all(|opening| {
        let (protocol, ports) = (opening.protocol, &opening.ports);
        let mut addresses = opening.addresses.iter();
        if opening.addresses.is_empty() {
            // It has its name and its counter, and nothing yet that it could open.
            return rules().any(|found| found.name == wanted.name);
        }
        addresses.all(|address| {
            let same_clients = rules().filter(|found| found.sources == wanted.sources);
            let mut openings = same_clients.flat_map(|found| &found.opens);
            openings.any(|found| {
                (found.protocol, &found.ports) == (protocol, ports)
                    && found.holds(*ports.start(), *address)
            })
        })
    })
}
