//! Policy rules that route marked answers by their VRF's table. Owns the rules of our protocol number, and
//! touches no other.

use std::collections::BTreeSet;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use vrfgate_core::Steering;
use vrfgate_ebpf::netlink::{Error, Request, Socket};

use crate::node::{PROTOCOL, kernel::rules};

/// Before the l3mdev rule (1000) and, where it was moved behind that, the local table. After what others put
/// first on purpose.
const PREFERENCE: u32 = 900;

/// `RT_TABLE_COMPAT` of `<linux/rtnetlink.h>`: the number is in an attribute.
const COMPAT: u8 = 252;

/// A rule `fwmark MARK/MASK lookup TABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MarkRule {
    pub(crate) ipv4: bool,
    pub(crate) preference: u32,
    pub(crate) mark: u32,
    pub(crate) mask: u32,
    pub(crate) table: u32,
}

/// The rules that a steering needs.
pub(super) fn wanted(steering: &Steering) -> BTreeSet<MarkRule> {
    let mut rules = BTreeSet::new();
    for marked in &steering.vrfs {
        for ipv4 in [true, false] {
            if marked.vrf.has_family(ipv4) {
                rules.insert(MarkRule {
                    ipv4,
                    preference: PREFERENCE,
                    mark: marked.mark,
                    mask: steering.mask.bits(),
                    table: marked.vrf.table,
                });
            }
        }
    }
    rules
}

/// Our rules, as they are.
pub(super) fn ours(socket: &mut Socket) -> Result<Vec<MarkRule>, Error> {
    let rules = all(socket)?.into_iter();
    Ok(rules
        .filter(|(owner, _)| *owner == PROTOCOL)
        .map(|(_, rule)| rule)
        .collect())
}

/// Rules of others that match marks, and their text.
pub(super) fn others(socket: &mut Socket) -> Result<Vec<MarkRule>, Error> {
    let rules = all(socket)?.into_iter();
    Ok(rules
        .filter(|(owner, rule)| *owner != PROTOCOL && rule.mask != 0)
        .map(|(_, rule)| rule)
        .collect())
}

/// Every rule, and who made it.
fn all(socket: &mut Socket) -> Result<Vec<(u8, MarkRule)>, Error> {
    let mut all = Vec::new();
    for ipv4 in [true, false] {
        all.extend(rules(socket, ipv4)?.iter().map(|rule| {
            let mark_rule = MarkRule {
                ipv4,
                preference: rule.preference,
                mark: rule.mark,
                mask: rule.mask,
                table: rule.table.unwrap_or(0),
            };
            (rule.owner, mark_rule)
        }));
    }
    Ok(all)
}

/// Makes a rule. One that does the same is as good, whoever made it.
pub(super) fn add(socket: &mut Socket, rule: MarkRule) -> Result<(), Error> {
    let message = RouteNetlinkMessage::NewRule(message(rule));
    match socket.change(&Request::of(&message, NLM_F_CREATE | NLM_F_EXCL)) {
        Err(error) if error.errno() == Some(nix::Error::EEXIST) => Ok(()),
        result => result,
    }
}

/// Removes a rule; fine when it is gone already.
pub(super) fn remove(socket: &mut Socket, rule: MarkRule) -> Result<(), Error> {
    let message = RouteNetlinkMessage::DelRule(message(rule));
    match socket.change(&Request::of(&message, 0)) {
        Err(error) if error.errno() == Some(nix::Error::ENOENT) => Ok(()),
        result => result,
    }
}

fn message(rule: MarkRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv4 {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(COMPAT);
    message.attributes = vec![
        RuleAttribute::Priority(rule.preference),
        RuleAttribute::FwMark(rule.mark),
        RuleAttribute::FwMask(rule.mask),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    message
}
