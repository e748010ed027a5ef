//! Which VRFs are gated, how, and which leaks wait.

use super::{
    Decision, Host, Leak, Mode, Packet, Protocol, RefuseReason, Service, compile, decide, ip, leak,
    packet, passes, ports, tcp,
};
use crate::{PassReason, Posture, WaitingReason};

fn host() -> Host {
    Host::default()
        .device("lan")
        .address("192.0.2.1")
        .vrf("BLUE")
        .vrf("RED")
}

fn ssh(name: &str, vrf: &str) -> Leak {
    Leak {
        services: vec![tcp("ssh", 22, &["192.0.2.0/24"])],
        ..leak(name, vrf)
    }
}

#[test]
fn every_vrf_is_gated_whether_a_leak_names_it_or_not() {
    let host = host();
    let desired = compile(&[ssh("blue", "BLUE")], host.facts());
    let gated: Vec<(&str, u32, bool)> = desired
        .vrfs
        .iter()
        .map(|vrf| {
            (
                vrf.name.as_str(),
                vrf.ifindex,
                vrf.posture != Posture::AsBefore,
            )
        })
        .collect();
    assert_eq!(gated, [("BLUE", 2, true), ("RED", 3, false)]);
    assert!(passes(&desired, packet(2, "192.0.2.1", 22)));
    assert!(!passes(&desired, packet(3, "192.0.2.1", 22)));
}

#[test]
fn a_leak_waits_for_a_vrf_that_is_not_there() {
    let desired = compile(&[ssh("green", "GREEN")], host().facts());
    let [waiting] = desired.waiting.as_slice() else {
        panic!("{desired:#?}")
    };
    assert_eq!(waiting.leak.as_str(), "green");
    assert_eq!(waiting.vrf.as_str(), "GREEN");
    assert_eq!(waiting.reason, WaitingReason::NoSuchDevice);
}

#[test]
fn a_leak_waits_when_the_device_it_names_is_no_vrf() {
    let desired = compile(&[ssh("lan", "lan")], host().facts());
    assert_eq!(desired.waiting[0].reason, WaitingReason::NotAVrf);
    assert!(desired.vrfs.iter().all(|vrf| vrf.services.is_empty()));
}

#[test]
fn leaks_of_one_vrf_add_up() {
    let web = Leak {
        services: vec![tcp("web", 80, &["192.0.2.0/24"])],
        ..leak("web", "BLUE")
    };
    let desired = compile(&[ssh("ssh", "BLUE"), web], host().facts());
    assert!(passes(&desired, packet(2, "192.0.2.1", 22)));
    assert!(passes(&desired, packet(2, "192.0.2.1", 80)));
    assert!(!passes(&desired, packet(2, "192.0.2.1", 81)));
}

#[test]
fn a_vrf_is_audited_only_if_all_its_leaks_say_so() {
    let audit = |name| Leak {
        mode: Mode::Audit,
        ..ssh(name, "BLUE")
    };
    let host = host();
    let mode = |leaks: &[Leak]| compile(leaks, host.facts()).vrfs[0].posture;
    assert_eq!(mode(&[audit("a"), audit("b")]), Posture::Audited);
    assert_eq!(mode(&[audit("a"), ssh("b", "BLUE")]), Posture::Enforced);
    assert_eq!(mode(&[ssh("b", "BLUE"), audit("a")]), Posture::Enforced);
    assert_eq!(mode(&[]), Posture::AsBefore);
}

#[test]
fn each_verdict_says_why() {
    let service = Service {
        sources: vec!["10.0.0.0/24".parse().unwrap()],
        ports: ports(20, 22),
        ..tcp("ssh", 22, &["192.0.2.0/24"])
    };
    let enforced = Leak {
        services: vec![service.clone()],
        ..leak("blue", "BLUE")
    };
    let audited = Leak {
        mode: Mode::Audit,
        ..enforced.clone()
    };
    let host = host();
    let enforced = compile(&[enforced], host.facts()).rule_set().unwrap();
    let audited = compile(&[audited], host.facts()).rule_set().unwrap();

    let listed = packet(2, "192.0.2.1", 20);
    let stranger = Packet {
        remote: ip("10.9.9.9"),
        ..listed
    };
    let unlisted = [
        Packet {
            local_port: 23,
            ..listed
        },
        Packet {
            local_port: 19,
            ..listed
        },
        Packet {
            protocol: Protocol::Udp,
            ..listed
        },
        Packet {
            local: ip("192.0.2.9"),
            ..listed
        },
    ];
    for rules in [&enforced, &audited] {
        match decide(rules, listed) {
            Decision::Pass(PassReason::Rule(rule)) => assert_eq!(rule.name, "blue/ssh"),
            other => panic!("{other:?}"),
        }
        let elsewhere = Packet {
            ingress: 1,
            local_port: 23,
            ..listed
        };
        assert_eq!(decide(rules, elsewhere), Decision::Pass(PassReason::NotVrf));
    }
    // In both it is the one rule of the VRF, and the same.
    let refused = RefuseReason::SourceNotAllowed(&enforced.vrfs()[&2].rules[0]);
    assert_eq!(decide(&enforced, stranger), Decision::Refuse(refused));
    assert_eq!(
        decide(&audited, stranger),
        Decision::Pass(PassReason::Audit(refused))
    );
    for packet in unlisted {
        let refused = RefuseReason::NotListed;
        assert_eq!(decide(&enforced, packet), Decision::Refuse(refused));
        assert_eq!(
            decide(&audited, packet),
            Decision::Pass(PassReason::Audit(refused))
        );
    }
}
