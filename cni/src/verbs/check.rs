//! CHECK: whether the gate is in force, and does what ADD had it do.

use std::path::Path;

use tracing::debug;
use vrfgate_ebpf::Gate;

use super::pod::{self, Machine, failed};
use crate::{
    Facts,
    config::{Asked, Places},
    force::lacking,
    left_out,
    protocol::{Code, Container, Failure, Input},
    rule_set,
};

pub(crate) fn check(
    container: &Container,
    path: &Path,
    input: &Input,
    places: &Places,
) -> Result<(), Failure> {
    let asked = Asked::of(input)?;
    input.prev_result()?;
    let netns = pod::open(path)?;
    let facts = Facts::of(&netns).map_err(failed(format!("asking for the links of {netns}")))?;
    if facts.vrfs().next().is_none() {
        return Ok(());
    }
    let machine = Machine::of(places);
    let key = container.key(&input.network);
    let wrong = |what: String| Err(Failure::new(Code::NotInForce, format!("{key}: {what}")));

    let cookie = netns
        .cookie()
        .map_err(failed(format!("looking at {netns}")))?;
    let attachments = machine.in_netns(cookie)?;
    let Some(ours) = attachments.iter().find(|attachment| attachment.key == key) else {
        if asked.vrf.is_none() {
            // Its namespace had no VRF at ADD, as that of a primary network whose pod gets one by another network.
            debug!("{key}: passed through at ADD");
            return Ok(());
        }
        return wrong("is not recorded as attached; its namespace has got a VRF since ADD, or somebody removed the record".into());
    };
    if (&ours.vrf, &ours.services) != (&asked.vrf, &asked.services) {
        return wrong("its network configuration has changed since ADD".into());
    }
    let vrfs = facts.vrfs().map(|vrf| vrf.name.as_str());
    let mut left_out = left_out(&attachments, vrfs).into_iter();
    if let Some(why) = left_out.find(|why| why.later == key) {
        return wrong(format!("left out: {why}"));
    }
    match Gate::inspect(&machine.store, &netns) {
        Ok(Some(found)) => {
            // Addresses may have come since, which only an agent opens.
            let facts = facts.known_to(&attachments);
            let lacking = lacking(&found, &rule_set(&attachments, &facts));
            if lacking.is_empty() {
                Ok(())
            } else {
                wrong(lacking.join("; "))
            }
        }
        Ok(None) => wrong(format!("{netns} has no gate")),
        Err(error @ vrfgate_ebpf::Error::NotInForce { .. }) => wrong(error.to_string()),
        Err(error) => Err(error.into()),
    }
}
