//! The walk of a packet, from a good one on.

use vrfgate_core::{Posture, Rule};
use vrfgate_ebpf::L3mdevAccept;

use super::{good::*, *};

#[test]
fn a_question_names_address_port_and_protocol_of_one_family() {
    let ask = |from: &str, to: &str| Question::new("BLUE".parse().unwrap(), ip(from), to);
    let question = ask("2001:db8::2", "[2001:db8::1]:53/UDP").unwrap();
    assert_eq!(question.protocol, Protocol::Udp);
    assert_eq!(question.to, "[2001:db8::1]:53".parse().unwrap());
    for to in [
        "192.0.2.1:22",
        "192.0.2.1/tcp",
        "192.0.2.1:22/sctp",
        "192.0.2.1:0/tcp",
        "0.0.0.0:22/tcp",
        "host:22/tcp",
        "2001:db8::1:22/tcp",
        "",
    ] {
        assert_eq!(
            ask("10.0.0.2", to),
            Err(QuestionError::Destination(to.to_owned())),
            "{to}"
        );
    }
    assert!(matches!(
        ask("2001:db8::2", "192.0.2.1:22/tcp"),
        Err(QuestionError::Families { .. })
    ));
    assert!(matches!(
        ask("10.0.0.2", "224.0.0.1:22/tcp"),
        Err(QuestionError::Multicast(_))
    ));
}

#[test]
fn the_whole_way_is_told_and_nothing_is_advised_where_all_is_well() {
    let explanation = verdict(&good(), Verdict::Served);
    let stages: Vec<Stage> = explanation.steps.iter().map(|step| step.stage).collect();
    assert_eq!(
        stages,
        [
            Stage::Device,
            Stage::Policy,
            Stage::Route,
            Stage::Gate,
            Stage::Socket,
            Stage::Reply
        ]
    );
    assert_eq!(explanation.advice, "nothing to do");
    assert!(explanation.steps[0].finding.contains("blue1"));
}

#[test]
fn a_socket_bound_inside_the_vrf_passes_step_3_for_every_slave() {
    for device in [BLUE, BLUE1, BLUE2] {
        let facts = Facts {
            gate: Some(gate(Posture::Enforced, vec![])),
            sockets: vec![listener(1, "192.0.2.1:22", Some(device))],
            ..good()
        };
        // The client is behind blue1: what is bound to blue2 passes the gate, and hears nothing.
        let expected = if device == BLUE2 {
            Verdict::ListenerOnOtherDevice
        } else {
            Verdict::Served
        };
        let explanation = verdict(&facts, expected);
        assert!(explanation.steps[3].finding.starts_with("step 3"));
    }
    for device in [RED, RED1, LAN] {
        let facts = Facts {
            gate: Some(gate(Posture::Enforced, vec![])),
            sockets: vec![listener(1, "192.0.2.1:22", Some(device))],
            ..good()
        };
        verdict(&facts, Verdict::NotListed);
    }
}

#[test]
fn step_3_passes_nothing_that_the_kernel_would_hand_to_an_unbound_socket() {
    for (unbound, bound, device, expected) in [
        ("192.0.2.1:22", "192.0.2.1:22", BLUE, Verdict::Served),
        ("192.0.2.1:22", "0.0.0.0:22", BLUE, Verdict::NotListed),
        ("0.0.0.0:22", "0.0.0.0:22", BLUE, Verdict::Served),
        ("[::]:22", "192.0.2.1:22", BLUE, Verdict::Served),
        ("0.0.0.0:22", "0.0.0.0:22", BLUE1, Verdict::NotListed),
        ("0.0.0.0:22", "192.0.2.1:22", BLUE1, Verdict::NotListed),
        ("10.0.0.1:22", "0.0.0.0:22", BLUE1, Verdict::Served),
    ] {
        let facts = Facts {
            gate: Some(gate(Posture::Enforced, vec![])),
            sockets: vec![listener(1, unbound, None), listener(2, bound, Some(device))],
            ..good()
        };
        verdict(&facts, expected);
    }
}

#[test]
fn a_leak_that_failed_is_named_rather_than_asked_for() {
    let mut facts = Facts {
        gate: Some(gate(Posture::Enforced, vec![])),
        failed: vec![("blue".into(), "has no room beside older leaks: …".into())],
        ..good()
    };
    for (gate_there, mode, expected) in [
        (true, Posture::Enforced, Verdict::NotListed),
        (true, Posture::AsBefore, Verdict::VrfNotNamed),
        (false, Posture::Enforced, Verdict::NoGate),
    ] {
        facts.gate = gate_there.then(|| gate(mode, vec![]));
        facts.accept = L3mdevAccept {
            tcp: Some(gate_there),
            udp: Some(gate_there),
        };
        let explanation = facts.explain(&question("192.0.2.1:22/tcp"));
        assert_eq!(explanation.verdict, expected);
        assert_eq!(
            explanation.advice,
            "leak blue of VRF BLUE is not in force: it has no room beside older leaks: …"
        );
    }
}

#[test]
fn step_3_lets_in_a_client_that_the_rule_excludes() {
    let restricted = Rule {
        sources: vec!["10.0.0.9/32".parse().unwrap()],
        ..ssh()
    };
    let mut facts = Facts {
        gate: Some(gate(Posture::Enforced, vec![restricted])),
        ..good()
    };
    verdict(&facts, Verdict::SourceNotAllowed);
    facts.sockets = vec![listener(1, "0.0.0.0:22", Some(BLUE))];
    verdict(&facts, Verdict::Served);
}

#[test]
fn an_exact_address_wins_over_a_device_and_a_device_over_the_family() {
    let sockets = |sockets: &[OpenSocket]| {
        let facts = Facts {
            sockets: sockets.to_vec(),
            ..good()
        };
        let explanation = verdict(&facts, Verdict::Served);
        let socket = explanation
            .steps
            .into_iter()
            .find(|step| step.stage == Stage::Socket);
        socket.unwrap().finding
    };
    let exact = listener(1, "192.0.2.1:22", None);
    let bound = listener(2, "[::]:22", Some(BLUE));
    let any = listener(3, "0.0.0.0:22", None);
    let dual = listener(4, "[::]:22", None);
    for (all, winner) in [
        (vec![dual.clone(), any.clone(), bound.clone(), exact], 1),
        (vec![dual.clone(), any.clone(), bound], 2),
        (vec![dual.clone(), any], 3),
        (vec![dual], 4),
    ] {
        let said = sockets(&all);
        assert!(said.starts_with(&format!("socket {winner} ")), "{said}");
    }
}

#[test]
fn an_ipv6_only_socket_hears_no_ipv4() {
    let facts = Facts {
        sockets: vec![OpenSocket {
            dual_stack: false,
            ..listener(1, "[::]:22", None)
        }],
        ..good()
    };
    verdict(&facts, Verdict::ListenerOnOtherAddress);
}

#[test]
fn the_mode_of_a_vrf_that_no_leak_names_depends_on_the_former_sysctl() {
    let mut facts = Facts {
        gate: Some(gate(Posture::AsBefore, vec![])),
        ..good()
    };
    verdict(&facts, Verdict::VrfNotNamed);
    if let Some(gate) = &mut facts.gate {
        gate.sysctls.former.tcp = Some(true);
    }
    verdict(&facts, Verdict::Served);
}

#[test]
fn a_vrf_that_the_gate_has_not_seen_is_open_and_that_is_told() {
    let mut facts = good();
    if let Some(gate) = &mut facts.gate {
        gate.vrfs.clear();
    }
    let explanation = verdict(&facts, Verdict::Served);
    assert!(explanation.advice.contains("open to everything"));
}

#[test]
fn a_gate_that_is_not_in_force_is_none_and_why_is_told() {
    let facts = Facts {
        gate: None,
        gate_trouble: Some("its link has been detached".into()),
        accept: L3mdevAccept {
            tcp: Some(false),
            udp: Some(false),
        },
        ..good()
    };
    let explanation = verdict(&facts, Verdict::NoGate);
    assert!(explanation.steps[3].finding.contains("detached"));
}

fn udp(facts: &Facts) -> Verdict {
    facts.explain(&question("192.0.2.1:53/udp")).verdict
}

#[test]
fn an_unbound_datagram_socket_answers_by_the_main_tables_and_by_the_vrfs_after_them() {
    let facts = |socket: OpenSocket| Facts {
        gate: Some(gate(Posture::Enforced, vec![dns()])),
        sockets: vec![datagrams(&socket)],
        ..good()
    };
    let mut wildcard = facts(listener(1, "0.0.0.0:53", None));
    assert_eq!(udp(&wildcard), Verdict::Served);
    // The VRF's table gives answers another address.
    let bound = facts(listener(1, "0.0.0.0:53", Some(BLUE)));
    assert_eq!(udp(&bound), Verdict::ReplyFromWrongAddress);
    let bound = facts(listener(1, "192.0.2.1:53", Some(BLUE)));
    assert_eq!(udp(&bound), Verdict::Served);

    wildcard.replies.vrf_from = Some(Answer::None(NoWay::NoRoute));
    assert_eq!(udp(&wildcard), Verdict::ReplyLost);
    let mut exact = facts(listener(1, "192.0.2.1:53", None));
    assert_eq!(udp(&exact), Verdict::Served);
    exact.replies.main_from = Some(Answer::Route(route(
        RouteKind::Unicast,
        MAIN,
        "0.0.0.0/0",
        LAN,
    )));
    assert_eq!(udp(&exact), Verdict::ReplyLost);
}

#[test]
fn a_steered_answer_needs_any_route_in_main_and_the_vrfs_own_and_the_asked_source() {
    let away = RouteFact {
        source: Some(ip("192.0.2.1")),
        ..route(RouteKind::Unicast, MAIN, "0.0.0.0/0", LAN)
    };
    let mut facts = Facts {
        gate: Some(gate(Posture::Enforced, vec![dns()])),
        sockets: vec![datagrams(&listener(1, "0.0.0.0:53", None))],
        ..good()
    };
    facts.replies.main = Some(Answer::Route(away.clone()));
    assert_eq!(udp(&facts), Verdict::ReplyLost, "main leads away");

    facts.steered = Some(Steered {
        mark: (3, 0x7f),
        rules: vec!["blue/ntp".into()],
    });
    facts.rules.push(PolicyRule {
        mark: Some((3, 0x7f)),
        ..lookup(900, RuleAction::Table(BLUE_TABLE))
    });
    assert_eq!(
        udp(&facts),
        Verdict::ReplyLost,
        "another service is steered"
    );

    facts.steered.as_mut().unwrap().rules = vec!["blue/dns".into()];
    assert_eq!(udp(&facts), Verdict::Served);
    let reply = facts.explain(&question("192.0.2.1:53/udp"));
    let finding = &reply.steps.last().unwrap().finding;
    assert!(finding.contains("mark 0x3/0x7f"), "{finding}");

    let mut spoilt = facts.clone();
    spoilt.rules.pop();
    assert_eq!(udp(&spoilt), Verdict::ReplyLost, "the mark's rule is gone");
    let mut spoilt = facts.clone();
    spoilt.replies.main = Some(Answer::None(NoWay::NoRoute));
    assert_eq!(udp(&spoilt), Verdict::ReplyLost, "main has no route");
    let mut spoilt = facts.clone();
    spoilt.replies.vrf_from = Some(Answer::None(NoWay::NoRoute));
    assert_eq!(udp(&spoilt), Verdict::ReplyLost, "the VRF has no route");
    let mut spoilt = facts;
    spoilt.replies.main = Some(Answer::Route(RouteFact {
        source: Some(ip("192.0.2.7")),
        ..away
    }));
    assert_eq!(udp(&spoilt), Verdict::ReplyFromWrongAddress);
}

#[test]
fn a_refusal_that_finds_no_way_back_is_silence_to_the_client() {
    let mut facts = Facts {
        gate: Some(gate(Posture::Enforced, vec![])),
        ..good()
    };
    assert_eq!(
        verdict(&facts, Verdict::NotListed).client_sees,
        Sees::Refused
    );
    facts.replies.vrf = Some(Answer::None(NoWay::NoRoute));
    assert_eq!(
        verdict(&facts, Verdict::NotListed).client_sees,
        Sees::Silence
    );
}

#[test]
fn a_connected_socket_takes_nothing_from_others() {
    let facts = Facts {
        sockets: vec![OpenSocket {
            peer: Some("10.0.0.3:9".parse().unwrap()),
            ..listener(1, "0.0.0.0:22", None)
        }],
        ..good()
    };
    verdict(&facts, Verdict::NoListener);
}
