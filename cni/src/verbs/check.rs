//! CHECK: whether the gate is in force, as ADD made it.

use std::path::Path;

use tracing::debug;
use vrfgate_core::{VrfName, left_out};
use vrfgate_ebpf::Gate;

use super::pod::{self, Machine, failed};
use crate::{
    config::{OwnConfig, Places},
    facts::{facts_of, known_to, vrfs_of},
    force::lacking,
    protocol::{Code, Container, Failure, Input},
    rule_set,
};

pub(crate) fn check(
    container: &Container,
    path: &Path,
    input: &Input,
    places: &Places,
) -> Result<(), Failure> {
    let own = OwnConfig::of(input)?;
    input.prev_result()?;
    let netns = pod::open(path)?;
    let facts = facts_of(&netns).map_err(failed(format!("asking for the links of {netns}")))?;
    let vrfs = vrfs_of(&facts);
    if vrfs.is_empty() {
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
        if own.vrf.is_none() {
            // The namespace had no VRF at ADD: the pod of a primary network may get one from another network.
            debug!("{key}: passed through at ADD");
            return Ok(());
        }
        return wrong("is not recorded as attached: its namespace has got a VRF since ADD, or the record was removed".into());
    };
    if (&ours.vrf, &ours.services) != (&own.vrf, &own.services) {
        return wrong("its network configuration has changed since ADD".into());
    }
    let mut left_out = left_out(&attachments, vrfs.iter().map(VrfName::as_str)).into_iter();
    if let Some(why) = left_out.find(|why| why.later == key) {
        return wrong(format!("left out: {why}"));
    }
    match Gate::inspect(&machine.store, &netns) {
        Ok(Some(found)) => {
            // Only an agent opens addresses that came later.
            let facts = known_to(facts, &attachments);
            let wanted = rule_set(&attachments, &facts).map_err(vrfgate_ebpf::Error::from)?;
            let lacking = lacking(&found, &wanted);
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
