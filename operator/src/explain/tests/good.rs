//! A packet that is served, to be spoilt by each test in its own way.

use ipnet::IpNet;
use vrfgate_core::{Opening, PortRange, Posture, Rule};
use vrfgate_ebpf::{GateStatus, Hits, L3mdevAccept, NetnsId, RuleStatus, SysctlStatus, VrfStatus};

use super::*;

pub(super) fn question(to: &str) -> Question {
    Question::new("BLUE".parse().unwrap(), ip("10.0.0.2"), to).unwrap()
}

pub(super) fn route(kind: RouteKind, table: u32, prefix: &str, device: u32) -> RouteFact {
    RouteFact {
        kind,
        table,
        prefix: Some(prefix.parse::<IpNet>().unwrap()),
        device: Some(device),
        gateway: None,
        source: None,
    }
}

pub(super) fn lookup(preference: u32, action: RuleAction) -> PolicyRule {
    PolicyRule {
        preference,
        action,
        ..PolicyRule::default()
    }
}

pub(super) fn default_rules() -> Vec<PolicyRule> {
    vec![
        lookup(0, RuleAction::Table(LOCAL)),
        lookup(1000, RuleAction::L3mdev),
        lookup(32766, RuleAction::Table(MAIN)),
    ]
}

pub(super) fn gate(posture: Posture, rules: Vec<Rule>) -> GateStatus {
    let accept = |yes| L3mdevAccept {
        tcp: Some(yes),
        udp: Some(yes),
    };
    GateStatus {
        netns: NetnsId(1),
        program_id: 1,
        guard_program_id: 2,
        layout: 1,
        sysctls: SysctlStatus {
            now: accept(true),
            former: accept(false),
        },
        tracing: true,
        prepared: false,
        vrfs: vec![VrfStatus {
            ifindex: BLUE,
            name: "BLUE".into(),
            slaves: vec![BLUE1, BLUE2],
            posture,
            hits: Hits::default(),
            rules: rules
                .into_iter()
                .map(|rule| RuleStatus {
                    rule,
                    hits: Hits::default(),
                })
                .collect(),
        }],
    }
}

pub(super) fn ssh() -> Rule {
    let opening = Opening {
        protocol: Protocol::Tcp,
        ports: PortRange::single(22).unwrap(),
        addresses: vec![ip("192.0.2.1")],
        prefixes: vec![],
    };
    Rule::new("blue/ssh", opening)
}

pub(super) fn dns() -> Rule {
    let opening = Opening {
        protocol: Protocol::Udp,
        ports: PortRange::single(53).unwrap(),
        ..ssh().opens[0].clone()
    };
    Rule::new("blue/dns", opening)
}

/// Everything in order: sshd on a wildcard, listed, the client behind blue1.
pub(super) fn good() -> Facts {
    let back = RouteFact {
        source: Some(ip("10.0.0.1")),
        prefix: None,
        ..route(RouteKind::Unicast, BLUE_TABLE, "10.0.0.0/24", BLUE1)
    };
    let through_main = RouteFact {
        source: Some(ip("192.0.2.1")),
        prefix: None,
        ..route(RouteKind::Unicast, MAIN, "10.0.0.0/24", BLUE)
    };
    Facts {
        node: node(),
        rules: default_rules(),
        arrival: Some(Answer::Route(route(
            RouteKind::Local,
            LOCAL,
            "192.0.2.1/32",
            LAN,
        ))),
        replies: Replies {
            vrf: Some(Answer::Route(back.clone())),
            vrf_from: Some(Answer::Route(back)),
            main: Some(Answer::Route(through_main.clone())),
            main_from: Some(Answer::Route(through_main)),
        },
        gate: Some(gate(Posture::Enforced, vec![ssh()])),
        accept: L3mdevAccept {
            tcp: Some(true),
            udp: Some(true),
        },
        sockets: vec![listener(1, "0.0.0.0:22", None)],
        ..Facts::default()
    }
}

#[track_caller]
pub(super) fn verdict(facts: &Facts, expected: Verdict) -> Explanation {
    let explanation = facts.explain(&question("192.0.2.1:22/tcp"));
    assert_eq!(explanation.verdict, expected, "{explanation:#?}");
    explanation
}
