//! Makes the kernel forget connections of VRFs that are not steered any more.
//!
//! A client that keeps its port would otherwise go unanswered for as long as the kernel remembers: its next
//! question, in no zone, and the one that is remembered would both expect the same answer, and the kernel
//! drops such questions.

use std::{collections::BTreeSet, io};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage},
};
use vrfgate_core::is_zone;
use vrfgate_ebpf::{
    Netns,
    netlink::{Attribute, Malformed, Message},
};

use super::socket::{NFGENMSG, Netfilter};

/// `<linux/netfilter/nfnetlink.h>`, `<linux/netfilter/nfnetlink_conntrack.h>`: a connection.
const CONNECTION: u16 = 1 << 8;
const TUPLE_ORIG: u16 = 1;
const TUPLE_ZONE: u16 = 3;
/// `NLA_F_NESTED`
const NESTED: u16 = 1 << 15;

/// Removes connections from the kernel's table whose zone is one that we give, and none of `keep`.
pub(super) fn forget(netns: &Netns, keep: &BTreeSet<u16>) -> io::Result<()> {
    let mut netfilter = Netfilter::open(netns)?;
    let any = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let question = NetfilterMessage::new(any, ConntrackMessage::Get(Vec::new()));
    let questions = netfilter.list(&question, |message| question_of_ours(&message, keep))?;
    for (family, tuple) in questions {
        let header = NetfilterHeader::new(family, 0, 0);
        // As it came: whatever it says, it is what the kernel knows the connection by.
        let tuple = ConntrackAttribute::Other(DefaultNla::new(TUPLE_ORIG | NESTED, tuple));
        let delete = NetfilterMessage::new(header, ConntrackMessage::Delete(vec![tuple]));
        match netfilter.ask(&delete) {
            // It ended by itself meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// The question that a connection began with, if it is to be forgotten. Of both directions, only the question's carries
/// our zone.
fn question_of_ours(
    message: &Message<'_>,
    keep: &BTreeSet<u16>,
) -> Result<Option<(NetfilterProtoFamily, Vec<u8>)>, Malformed> {
    if message.kind != CONNECTION {
        return Ok(None);
    }
    let [family] = message.field(0)?;
    let Some(tuple) = message.attributes(NFGENMSG).find(TUPLE_ORIG) else {
        return Ok(None);
    };
    let zone = zone(&tuple)?;
    Ok(zone
        .filter(|zone| is_zone(*zone) && !keep.contains(zone))
        .map(|_| (NetfilterProtoFamily::from(family), tuple.value.to_vec())))
}

/// For the fuzzer.
#[cfg(feature = "fuzz")]
pub(super) fn read_everything(message: &Message<'_>) {
    let _ = question_of_ours(message, &BTreeSet::new());
}

fn zone(tuple: &Attribute<'_>) -> Result<Option<u16>, Malformed> {
    let zone = tuple.nested().find(TUPLE_ZONE);
    zone.map(|zone| zone.be16()).transpose()
}
