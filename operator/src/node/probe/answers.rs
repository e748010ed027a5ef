//! What netlink messages say of routes and policy rules, as facts.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType},
    rule::{self, RuleAttribute, RuleFlags, RuleMessage},
};

use crate::{
    explain::{NoWay, PolicyRule, RouteFact, RouteKind, RuleAction},
    node::facts::preference,
};

pub(super) fn no_way(error: &io::Error) -> NoWay {
    use nix::errno::Errno::{EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH, EXDEV};
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(ENETUNREACH) => NoWay::NoRoute,
        Some(EHOSTUNREACH) => NoWay::Unreachable,
        Some(EACCES) => NoWay::Prohibited,
        Some(EXDEV) => NoWay::ReversePath,
        Some(EINVAL) => NoWay::Invalid,
        _ => NoWay::Other(error.to_string()),
    }
}

pub(super) fn route_fact(message: &RouteMessage) -> RouteFact {
    let header = &message.header;
    let mut fact = RouteFact {
        kind: match header.kind {
            RouteType::Local => RouteKind::Local,
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Unreachable => RouteKind::Unreachable,
            RouteType::Prohibit => RouteKind::Prohibit,
            RouteType::BlackHole => RouteKind::Blackhole,
            RouteType::Throw => RouteKind::Throw,
            _ => RouteKind::Other,
        },
        table: header.table.into(),
        prefix: None,
        device: None,
        gateway: None,
        source: None,
    };
    let mut network = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => fact.table = *table,
            RouteAttribute::Destination(address) => network = ip(address).unwrap_or(network),
            RouteAttribute::Oif(device) => fact.device = Some(*device),
            RouteAttribute::Gateway(address) => fact.gateway = ip(address),
            RouteAttribute::PrefSource(address) => fact.source = ip(address),
            // Any of several next hops tells as much as is needed here.
            RouteAttribute::MultiPath(hops) => {
                fact.device = hops.first().map(|hop| hop.interface_index);
            }
            _ => {}
        }
    }
    // A resolved route is told as one for the very address: not what stands in the table.
    if !header.flags.contains(RouteFlags::Cloned) {
        fact.prefix = IpNet::new(network, header.destination_prefix_length).ok();
    }
    fact
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

pub(super) fn policy_rule(message: &RuleMessage) -> PolicyRule {
    let header = &message.header;
    let mut rule = PolicyRule {
        preference: preference(message),
        inverted: header.flags.contains(RuleFlags::Invert),
        special: header.tos != 0,
        ..PolicyRule::default()
    };
    let mut table = u32::from(header.table);
    let (mut l3mdev, mut mark, mut bits) = (false, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => {
                rule.from = IpNet::new(*address, header.src_len).ok();
            }
            RuleAttribute::Destination(address) => {
                rule.to = IpNet::new(*address, header.dst_len).ok();
            }
            RuleAttribute::Iifname(name) => rule.input = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.output = Some(name.clone()),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => bits = *value,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::L3MDev(yes) => l3mdev = *yes,
            RuleAttribute::IpProtocol(protocol) => rule.protocol = Some(u8::from(*protocol)),
            RuleAttribute::SourcePortRange(_) => rule.client_ports = true,
            RuleAttribute::DestinationPortRange(range) => {
                rule.ports = Some(range.start..=range.end);
            }
            RuleAttribute::TunId(_) | RuleAttribute::UidRange(_) => rule.special = true,
            _ => {}
        }
    }
    rule.mark = mark.map(|mark| (mark, bits)).filter(|(mark, _)| *mark != 0);
    rule.action = match header.action {
        rule::RuleAction::ToTable if l3mdev => RuleAction::L3mdev,
        rule::RuleAction::ToTable => RuleAction::Table(table),
        rule::RuleAction::Unreachable => RuleAction::Unreachable,
        rule::RuleAction::Prohibit => RuleAction::Prohibit,
        rule::RuleAction::Blackhole => RuleAction::Blackhole,
        _ => RuleAction::Other,
    };
    rule
}
