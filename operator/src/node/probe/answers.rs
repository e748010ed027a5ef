//! Converts routes and policy rules of netlink messages to facts.

use std::io;

use crate::{
    facts::{NoWay, PolicyRule, RouteFact, RouteKind, RuleAction},
    node::kernel::{Route, Rule},
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

pub(super) fn route_fact(route: &Route) -> RouteFact {
    RouteFact {
        // `RTN_*` of `<linux/rtnetlink.h>`.
        kind: match route.kind {
            1 => RouteKind::Unicast,
            2 => RouteKind::Local,
            6 => RouteKind::Blackhole,
            7 => RouteKind::Unreachable,
            8 => RouteKind::Prohibit,
            9 => RouteKind::Throw,
            _ => RouteKind::Other,
        },
        table: route.table,
        // A resolved route has the very address as its prefix, not the prefix that stands in the table.
        prefix: (!route.cloned).then_some(route.destination),
        device: route.device,
        gateway: route.gateway,
        source: route.source,
    }
}

pub(super) fn policy_rule(rule: Rule) -> PolicyRule {
    PolicyRule {
        preference: rule.preference,
        from: rule.from,
        to: rule.to,
        input: rule.input,
        output: rule.output,
        mark: Some((rule.mark, rule.mask)).filter(|(mark, _)| *mark != 0),
        protocol: rule.protocol,
        client_ports: rule.client_ports,
        ports: rule.ports,
        inverted: rule.inverted,
        special: rule.special,
        // `FR_ACT_*` of `<linux/fib_rules.h>`.
        action: match rule.action {
            1 => rule.table.map_or(RuleAction::L3mdev, RuleAction::Table),
            6 => RuleAction::Blackhole,
            7 => RuleAction::Unreachable,
            8 => RuleAction::Prohibit,
            _ => RuleAction::Other,
        },
    }
}
