//! ADD: the gate comes into the pod's namespace, or learns of one more attachment there.

use std::path::Path;

use tracing::{debug, info, warn};
use vrfgate_ebpf::Netns;

use super::pod::{self, Machine, failed};
use crate::{
    Attachment, Facts, NetnsPlace,
    agent::{self, AgentError, Event},
    config::{Asked, Places},
    contradiction,
    lock::NetnsLock,
    protocol::{Code, Container, Failure, Input},
};

pub(crate) fn add(
    container: &Container,
    path: &Path,
    input: &Input,
    places: &Places,
) -> Result<String, Failure> {
    let Asked {
        vrf,
        services,
        required,
    } = Asked::of(input)?;
    let result = input.prev_result()?.get().to_owned();
    let key = container.key(&input.network);
    let netns = pod::open(path)?;
    refuse_own(&netns)?;
    let any_vrf =
        Facts::any_vrf(&netns).map_err(failed(format!("asking for the links of {netns}")))?;
    if !any_vrf {
        if let Some(vrf) = vrf {
            warn!(
                "{key}: passed through: its namespace has no VRF, not even {vrf}; this plugin belongs behind the \
                 one that makes it"
            );
        } else {
            debug!("{key}: passed through: its namespace has no VRF");
        }
        return Ok(result);
    }
    let asking = failed(format!("asking for the addresses of {netns}"));
    let attachment = Attachment {
        netns: NetnsPlace::of(&netns, path).map_err(failed(format!("looking at {netns}")))?,
        addresses: Facts::addresses_of(&netns).map_err(asking)?,
        key,
        pod: container.pod.clone(),
        vrf,
        services,
    };
    attach(&Machine::of(places), &netns, &attachment, required)?;
    info!("attached {}", attachment.key);
    Ok(result)
}

/// A gate in the plugin's own namespace, which is the node's, would refuse what nobody has asked it to.
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
    // Before anything is written: an agent may read the records at any time.
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
        .and_then(|told| {
            if told {
                Ok(())
            } else {
                tell(machine, attachment, required)
            }
        });
    if done.is_err() {
        // The reason matters more than what may go wrong on the way back. The runtime will say DEL, too.
        let _ = give_up(machine, netns, &lock, attachment, before.as_ref());
    }
    done
}

fn tell(machine: &Machine, attachment: &Attachment, required: bool) -> Result<(), Failure> {
    let tell = if required { agent::insist } else { agent::tell };
    let Err(error) = tell(&machine.agent_socket, Event::Attached, attachment) else {
        return Ok(());
    };
    if !required {
        // Usual where there is no agent at all.
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

/// Goes back to what there was before the ADD, which may have waited for an agent already.
fn give_up(
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
