//! Makes the kernel forget connections of VRFs that are not steered any more.
//!
//! A client that keeps its port would otherwise go unanswered for as long as the kernel remembers: its next
//! question, in no zone, and the one that is remembered would both expect the same answer, and the kernel
//! drops such questions.

use std::{collections::BTreeSet, io};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_DUMP, Nla as _};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, Tuple},
};
use vrfgate_ebpf::Netns;

use super::socket::Netfilter;
use crate::compile::is_zone;

/// `CTA_TUPLE_ZONE` of `<linux/netfilter/nfnetlink_conntrack.h>`.
const TUPLE_ZONE: u16 = 3;

/// Removes connections from the kernel's table whose zone is one that we give, and none of `keep`.
pub(super) fn forget(netns: &Netns, keep: &BTreeSet<u16>) -> io::Result<()> {
    let netfilter = Netfilter::open(netns)?;
    let any = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let question = NetfilterMessage::new(any, ConntrackMessage::Get(Vec::new()));
    for answer in netfilter.ask(question, NLM_F_DUMP)? {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = answer.inner
        else {
            continue;
        };
        // Of both directions, only the question's carries our zone.
        let question = attributes.into_iter().find(|attribute| {
            matches!(attribute, ConntrackAttribute::CtaTupleOrig(tuple)
                if zone(tuple).is_some_and(|zone| is_zone(zone) && !keep.contains(&zone)))
        });
        let Some(question) = question else { continue };
        let header = NetfilterHeader::new(answer.header.family, 0, 0);
        let delete = NetfilterMessage::new(header, ConntrackMessage::Delete(vec![question]));
        match netfilter.ask(delete, NLM_F_ACK) {
            // It ended by itself meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => drop(result?),
        }
    }
    Ok(())
}

fn zone(tuple: &[Tuple]) -> Option<u16> {
    let part: &DefaultNla = tuple.iter().find_map(|part| match part {
        Tuple::Other(part) if part.kind() == TUPLE_ZONE => Some(part),
        _ => None,
    })?;
    let mut zone = [0; 2];
    (part.value_len() == zone.len()).then(|| {
        part.emit_value(&mut zone);
        u16::from_be_bytes(zone)
    })
}
