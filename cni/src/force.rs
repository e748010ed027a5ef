//! Puts the attachments of a pod's namespace into force, and compares a gate with them.

use std::io;

use tracing::warn;
use vrfgate_core::{Attachment, NodeFacts, Posture, Rule, RuleSet, VrfName, left_out};
use vrfgate_ebpf::{Capacity, Error, Gate, GateStatus, Netns, SharedPorts, Store, VrfStatus};

use crate::{rule_set, vrfs_of};

/// Puts the rules of these attachments, and no others, into force, in the existing gate or in a new one. Without attachments, it
/// detaches the gate. An attachment that contradicts an earlier one is left out, and the log names it.
///
/// The caller must keep others from doing the same at the same time.
///
/// # Errors
///
/// The gate could not be changed. What was in force stays in force.
pub fn bring_in_line(
    store: &Store,
    netns: &Netns,
    attachments: &[Attachment],
    facts: &NodeFacts,
) -> Result<(), Error> {
    if attachments.is_empty() {
        return remove_gate(store, netns);
    }
    let vrfs = vrfs_of(facts);
    for contradiction in left_out(attachments, vrfs.iter().map(VrfName::as_str)) {
        warn!("{}: left out: {contradiction}", contradiction.later);
    }
    let rules = rule_set(attachments, facts)?;
    match change(store, netns, rules.clone()) {
        Ok(true) => return Ok(()),
        Ok(false) | Err(Error::OldLayout { .. }) => {}
        // The loader has set the sysctls to 0.
        Err(error @ Error::NotInForce { .. }) => warn!("{error}; attaching a new gate"),
        Err(error) => return Err(error),
    }
    Gate::attach(store, netns.clone(), &rules, &Capacity::of_pod(&rules)).map(drop)
}

/// Changes the existing gate. False if there is none.
fn change(store: &Store, netns: &Netns, rules: RuleSet) -> Result<bool, Error> {
    let Some(mut gate) = Gate::open(store, netns.clone())? else {
        return Ok(false);
    };
    if !gate.is_current()? {
        gate.renew()?;
    }
    gate.apply(rules)?;
    Ok(true)
}

fn remove_gate(store: &Store, netns: &Netns) -> Result<(), Error> {
    match Gate::open(store, netns.clone()) {
        Ok(Some(gate)) => gate.detach()?,
        Ok(None) | Err(Error::OldLayout { .. } | Error::NotInForce { .. }) => {
            Gate::clean_up(store, netns, SharedPorts::Refuse)?;
        }
        Err(error) => return Err(error),
    }
    // An agent may have left its report.
    match store.remove_files(netns.id()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::Io {
            doing: format!("removing the files of the gate of {netns}"),
            cause,
        }),
        _ => Ok(()),
    }
}

/// What a gate lacks of the rules that it should have, in words. It may have more: an agent adds some.
pub(crate) fn lacking(found_gate: &GateStatus, wanted_set: &RuleSet) -> Vec<String> {
    let mut lacking = Vec::new();
    if found_gate.sysctls.now.tcp == Some(false) {
        lacking
            .push("net.ipv4.tcp_l3mdev_accept is 0, and no server is open to any VRF".to_owned());
    }
    for (ifindex, wanted) in wanted_set.vrfs() {
        let name = &wanted.name;
        let Some(found) = found_gate.vrfs.iter().find(|vrf| vrf.ifindex == *ifindex) else {
            lacking.push(format!("VRF {name} is not gated"));
            continue;
        };
        let slaves = wanted_set
            .slaves()
            .iter()
            .filter(|(_, vrf)| *vrf == ifindex);
        for (slave, _) in slaves.filter(|(slave, _)| !found.slaves.contains(slave)) {
            lacking.push(format!(
                "device {slave}, a slave of VRF {name}, is not gated"
            ));
        }
        // An agent leaves a VRF that nothing names as it was before, which is closed if the sysctl was 0.
        let was_open = found_gate.sysctls.former.tcp == Some(true);
        if found.posture == Posture::AsBefore && was_open {
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

/// Whether the rules of a VRF open everything that this one opens, to the same clients, whatever their names.
fn is_open(vrf: &VrfStatus, wanted: &Rule) -> bool {
    let rules = || vrf.rules.iter().map(|found| &found.rule);
    wanted.opens.iter().all(|opening| {
        let (protocol, ports) = (opening.protocol, &opening.ports);
        let mut addresses = opening.addresses.iter();
        if opening.addresses.is_empty() {
            // It has a name and a counter, but no address to open yet.
            return rules().any(|found| found.name == wanted.name);
        }
        addresses.all(|address| {
            let same_clients = rules().filter(|found| found.sources == wanted.sources);
            let mut openings = same_clients.flat_map(|found| &found.opens);
            openings.any(|found| {
                (found.protocol, &found.ports) == (protocol, ports)
                    && found.holds(ports.first(), *address)
            })
        })
    })
}
