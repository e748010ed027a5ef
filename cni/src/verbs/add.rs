//! ADD: attaches the gate to the pod's namespace, or adds one more attachment to it.

use std::path::Path;

use tracing::{debug, info, warn};
use vrfgate_core::{Attachment, contradiction};
use vrfgate_ebpf::Netns;

use super::pod::{self, Machine, failed};
use crate::{
    agent::{self, AgentError, Event},
    config::{OwnConfig, Places},
    facts,
    lock::NetnsLock,
    place_of,
    protocol::{Code, Container, Failure, Input},
};

pub(crate) fn add(
    container: &Container,
    path: &Path,
    input: &Input,
    places: &Places,
) -> Result<String, Failure> {
    let OwnConfig {
        vrf,
        services,
        required,
    } = OwnConfig::of(input)?;
    let result = input.prev_result()?.get().to_owned();
    let key = container.key(&input.network);
    let netns = pod::open(path)?;
    refuse_own(&netns)?;
    let any_vrf =
        facts::any_vrf(&netns).map_err(failed(format!("asking for the links of {netns}")))?;
    if !any_vrf {
        if let Some(vrf) = vrf {
            warn!(
                "{key}: passed through: its namespace has no VRF, not even {vrf}; this plugin must come after \
                 the one that makes it"
            );
        } else {
            debug!("{key}: passed through: its namespace has no VRF");
        }
        return Ok(result);
    }
    let asking = failed(format!("asking for the addresses of {netns}"));
    let attachment = Attachment {
        netns: place_of(&netns, path).map_err(failed(format!("looking at {netns}")))?,
        addresses: facts::addresses_of(&netns).map_err(asking)?,
        key,
        pod: container.pod.clone(),
        vrf,
        services,
    };
    attach(&Machine::of(places), &netns, &attachment, required)?;
    info!("attached {}", attachment.key);
    Ok(result)
}

/// Refuses the plugin's own namespace. It is the node's, and a gate there would close services that nobody meant to close.
fn refuse_own(netns: &Netns) -> Result<(), Failure> {
    let own = Netns::current().map_err(failed("looking at the plugin's own namespace"))?;
    if own.id() != netns.id() {
        return Ok(());
    }
    Err(Failure::new(
        Code::Environment,
        format!("CNI_NETNS: {netns} is the node's own; `vrfgate run` is for that one"),
    ))
}

fn attach(
    machine: &Machine,
    netns: &Netns,
    attachment: &Attachment,
    required: bool,
) -> Result<(), Failure> {
    let key = &attachment.key;
    let lock = NetnsLock::take(netns)?;
    let before = machine
        .attachments
        .find(key)
        .map_err(failed(format!("reading the record of {key}")))?;
    let others = machine.in_netns(attachment.netns.cookie)?;
    // Checked before anything is written: an agent may read the records at any time.
    if let Some(contradiction) = contradiction(attachment, &others) {
        return Err(Failure::new(
            Code::Configuration,
            format!("services: {contradiction}"),
        ));
    }
    machine
        .attachments
        .write(attachment)
        .map_err(failed(format!("writing the record of {key}")))?;
    let done = machine
        .settle(netns, &lock, Event::Attached, attachment, agent::insist)
        .and_then(|by_agent| {
            if by_agent {
                Ok(())
            } else {
                notify(machine, attachment, required)
            }
        });
    if done.is_err() {
        // The first error matters more than one of the way back. The runtime will call DEL, too.
        let _ = roll_back(machine, netns, &lock, attachment, before.as_ref());
    }
    done
}

/// Tells the agent of an attachment that the plugin itself has put into force.
fn notify(machine: &Machine, attachment: &Attachment, required: bool) -> Result<(), Failure> {
    let send = if required { agent::insist } else { agent::tell };
    let Err(error) = send(&machine.agent_socket, Event::Attached, attachment) else {
        return Ok(());
    };
    if !required {
        // Usual on a node without an agent.
        debug!("{}: {error}", attachment.key);
        return Ok(());
    }
    let code = match error {
        AgentError::Missing { .. } | AgentError::Refused { later: true, .. } => Code::TryAgainLater,
        AgentError::Refused { later: false, .. } => Code::Agent,
    };
    Err(Failure::new(
        code,
        format!("{error}; it is required by this network configuration (\"required\": true)"),
    ))
}

/// Restores what was there before the ADD. Doesn't wait for an agent again.
fn roll_back(
    machine: &Machine,
    netns: &Netns,
    lock: &NetnsLock,
    attachment: &Attachment,
    before: Option<&Attachment>,
) -> Result<(), Failure> {
    let removing = failed(format!("removing the record of {}", attachment.key));
    if let Some(before) = before {
        machine.attachments.write(before).map_err(removing)?;
        machine.settle(netns, lock, Event::Attached, before, agent::tell)?;
    } else {
        machine.settle(netns, lock, Event::Detached, attachment, agent::tell)?;
        machine
            .attachments
            .remove(&attachment.key)
            .map_err(removing)?;
    }
    Ok(())
}
