//! A client on this very host, whose socket is bound to the VRF.

use vrfgate_core::Posture;

use super::{good::*, *};

/// Asks the VRF's own address by a socket that is bound to the VRF: the packet comes back through the VRF.
fn inside() -> (Facts, Question) {
    let back = RouteFact {
        prefix: None,
        source: Some(ip("10.0.0.1")),
        ..route(RouteKind::Local, BLUE_TABLE, "10.0.0.1/32", BLUE)
    };
    let facts = Facts {
        arrival: Some(Answer::Route(back.clone())),
        replies: Replies {
            vrf: Some(Answer::Route(back.clone())),
            vrf_from: Some(Answer::Route(back)),
            main: Some(Answer::None(NoWay::NoRoute)),
            main_from: Some(Answer::None(NoWay::NoRoute)),
        },
        ..good()
    };
    (facts, asks("10.0.0.1", "10.0.0.1:22/tcp"))
}

/// Asks a main address likewise: the packet comes back past the VRF.
fn past() -> (Facts, Question) {
    let by_lo = route(RouteKind::Local, LOCAL, "192.0.2.1/32", 1);
    let facts = Facts {
        arrival: Some(Answer::Route(by_lo)),
        ..good()
    };
    (facts, asks("192.0.2.1", "192.0.2.1:22/tcp"))
}

fn asks(from: &str, to: &str) -> Question {
    Question::new("BLUE".parse().unwrap(), ip(from), to).unwrap()
}

#[track_caller]
fn expect((facts, question): &(Facts, Question), expected: Verdict, words: &str) {
    let explanation = facts.explain(question);
    assert_eq!(explanation.verdict, expected, "{explanation:#?}");
    let said = format!("{explanation:?}");
    assert!(said.contains(words), "{words:?}: {said}");
}

#[test]
fn inside_the_vrf_the_gate_decides_as_for_any_client_of_it() {
    let mut case = inside();
    expect(&case, Verdict::NotListed, "list TCP port 22 of 10.0.0.1");
    let mut listed = ssh();
    listed.opens[0].addresses = vec![ip("10.0.0.1")];
    case.0.gate = Some(gate(Posture::Enforced, vec![listed]));
    expect(&case, Verdict::Served, "bound to VRF BLUE");
}

#[test]
fn inside_the_vrf_the_device_that_has_the_address_is_the_one_to_listen_on() {
    for (device, expected) in [
        (BLUE, Verdict::Served),
        (BLUE1, Verdict::Served),
        (BLUE2, Verdict::ListenerOnOtherDevice),
        (RED, Verdict::NotListed),
    ] {
        let mut case = inside();
        case.0.sockets = vec![listener(1, "0.0.0.0:22", Some(device))];
        expect(&case, expected, "sent by a process of this host");
    }
}

#[test]
fn past_the_vrf_an_unbound_server_hears_it_and_its_answer_is_not_heard() {
    let mut case = past();
    case.0.gate = Some(gate(Posture::Enforced, vec![]));
    expect(
        &case,
        Verdict::ReplyLost,
        "step 1: not through a VRF: passes",
    );
    case.0.accept = vrfgate_ebpf::L3mdevAccept {
        tcp: Some(false),
        udp: Some(false),
    };
    expect(&case, Verdict::ReplyLost, "bound to no device");
    case.0.sockets = vec![listener(1, "0.0.0.0:22", Some(BLUE))];
    expect(&case, Verdict::ListenerOnOtherDevice, "past VRF BLUE");
    case.0.sockets = vec![listener(1, "0.0.0.0:22", Some(LAN))];
    expect(&case, Verdict::ReplyLost, "bound to lan");
}

#[test]
fn an_address_that_another_vrf_has_is_no_local_client_s() {
    let (mut facts, _) = inside();
    facts.node.addresses.push(LocalAddress {
        ifindex: RED1,
        address: ip("10.9.0.1"),
    });
    facts.arrival = Some(Answer::None(NoWay::Invalid));
    let explanation = facts.explain(&asks("10.9.0.1", "10.0.0.1:22/tcp"));
    assert_eq!(explanation.verdict, Verdict::ImpossibleSource);
}

#[test]
fn a_local_client_needs_no_slave_that_is_up_but_its_vrf() {
    let mut case = inside();
    case.0.down = [BLUE1, BLUE2].into();
    expect(&case, Verdict::NotListed, "a process of this host");
    case.0.down = [BLUE].into();
    expect(&case, Verdict::InterfaceDown, "VRF BLUE is down");
}
