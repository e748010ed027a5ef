//! Policy rules that route marked answers by their VRF's table. Owns the rules of our protocol number, and
//! touches no other.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use rtnetlink::{Handle, IpVersion};

use crate::{compile::Steering, node::PROTOCOL};

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
pub(super) async fn ours(
    handle: &Handle,
) -> Result<Vec<(MarkRule, RuleMessage)>, rtnetlink::Error> {
    let mut rules = all(handle).await?;
    rules.retain(|rule| {
        rule.attributes
            .contains(&RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)))
    });
    Ok(rules
        .into_iter()
        .map(|message| (mark_rule(&message), message))
        .collect())
}

/// Rules of others that look at marks, and how they read.
pub(super) async fn others(handle: &Handle) -> Result<Vec<MarkRule>, rtnetlink::Error> {
    let mut rules = all(handle).await?;
    rules.retain(|rule| {
        !rule
            .attributes
            .contains(&RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)))
    });
    Ok(rules
        .iter()
        .map(mark_rule)
        .filter(|rule| rule.mask != 0)
        .collect())
}

async fn all(handle: &Handle) -> Result<Vec<RuleMessage>, rtnetlink::Error> {
    let mut rules = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let dump: Vec<RuleMessage> = handle.rule().get(version).execute().try_collect().await?;
        rules.extend(dump);
    }
    Ok(rules)
}

/// Makes a rule. One that does the same is as good, whoever made it.
pub(super) async fn add(handle: &Handle, rule: MarkRule) -> Result<(), rtnetlink::Error> {
    let mut request = handle.rule().add();
    let message = request.message_mut();
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
    match request.execute().await {
        Err(error) if is(&error, nix::Error::EEXIST) => Ok(()),
        result => result,
    }
}

/// Removes a rule; fine when it is gone already.
pub(super) async fn remove(handle: &Handle, rule: RuleMessage) -> Result<(), rtnetlink::Error> {
    match handle.rule().del(rule).execute().await {
        Err(error) if is(&error, nix::Error::ENOENT) => Ok(()),
        result => result,
    }
}

fn is(error: &rtnetlink::Error, errno: nix::Error) -> bool {
    matches!(
        error,
        rtnetlink::Error::NetlinkError(message)
            if message.to_io().raw_os_error() == Some(errno as i32)
    )
}

fn mark_rule(message: &RuleMessage) -> MarkRule {
    let mut rule = MarkRule {
        ipv4: message.header.family == AddressFamily::Inet,
        preference: 0,
        mark: 0,
        mask: 0,
        table: message.header.table.into(),
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = *preference,
            RuleAttribute::FwMark(mark) => rule.mark = *mark,
            RuleAttribute::FwMask(mask) => rule.mask = *mask,
            RuleAttribute::Table(table) => rule.table = *table,
            _ => {}
        }
    }
    rule
}
