//! The decision list, where no leak is needed to show it: sockets inside the VRF, and what was open before.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Decision, InForce, Packet, Protocol, RefuseReason, RuleSet, ip, packet};
use crate::{OpenSocket, Opening, PassReason, PortRange, Posture, Rule, Vrf};

const BLUE: u32 = 7;
const BLUE1: u32 = 8;
const RED: u32 = 9;

/// BLUE opens TCP port 22 of 192.0.2.1 to 10.0.0.2, and has a slave.
fn rules(posture: Posture) -> RuleSet {
    let ssh = Rule {
        sources: vec!["10.0.0.2/32".parse().unwrap()],
        ..Rule::new(
            "ssh",
            Opening {
                protocol: Protocol::Tcp,
                ports: PortRange::single(22).unwrap(),
                addresses: vec![ip("192.0.2.1")],
                prefixes: vec![],
            },
        )
    };
    let vrf = |name: &str, rules| Vrf {
        name: name.to_owned(),
        posture,
        rules,
    };
    let vrfs = BTreeMap::from([(BLUE, vrf("BLUE", vec![ssh])), (RED, vrf("RED", vec![]))]);
    RuleSet::new(vrfs, BTreeMap::from([(BLUE1, BLUE)])).unwrap()
}

fn socket(on: &str, device: Option<u32>) -> OpenSocket {
    let on: SocketAddr = on.parse().unwrap();
    OpenSocket {
        protocol: Protocol::Tcp,
        address: on.ip(),
        port: on.port(),
        device,
        dual_stack: on.ip() == ip("::"),
        peer: None,
        cookie: 0,
        inode: 0,
    }
}

fn stranger(port: u16) -> Packet {
    Packet {
        remote: ip("10.0.0.3"),
        ..packet(BLUE, "192.0.2.1", port)
    }
}

#[test]
fn a_socket_inside_the_vrf_passes_and_why_it_would_be_refused_is_still_said() {
    let rules = rules(Posture::Enforced);
    let ssh = &rules.vrfs()[&BLUE].rules[0];
    for device in [BLUE, BLUE1] {
        let sockets = [
            socket("0.0.0.0:22", Some(device)),
            socket("[::]:23", Some(device)),
        ];
        let in_force = InForce {
            sockets: &sockets,
            ..InForce::from(&rules)
        };
        for (packet, socket, otherwise) in [
            (
                stranger(22),
                &sockets[0],
                RefuseReason::SourceNotAllowed(ssh),
            ),
            (stranger(23), &sockets[1], RefuseReason::NotListed),
        ] {
            assert_eq!(
                in_force.decide(packet),
                Decision::Pass(PassReason::Listener { socket, otherwise })
            );
        }
        // A rule comes first, another VRF has none of it, and a socket without this port neither.
        assert_eq!(
            in_force.decide(packet(BLUE, "192.0.2.1", 22)),
            Decision::Pass(PassReason::Rule(ssh))
        );
        for packet in [packet(RED, "192.0.2.1", 22), packet(BLUE, "192.0.2.1", 24)] {
            assert_eq!(
                in_force.decide(packet),
                Decision::Refuse(RefuseReason::NotListed)
            );
        }
    }
}

#[test]
fn a_socket_inside_the_vrf_passes_nothing_that_an_unbound_one_could_get_instead() {
    let rules = rules(Posture::Enforced);
    for (unbound, bound, device, passes) in [
        ("192.0.2.1:80", "192.0.2.1:80", BLUE, true),
        ("192.0.2.1:80", "0.0.0.0:80", BLUE, false),
        ("0.0.0.0:80", "0.0.0.0:80", BLUE, true),
        ("[::]:80", "192.0.2.1:80", BLUE, true),
        ("192.0.2.1:80", "192.0.2.1:80", BLUE1, false),
        ("0.0.0.0:80", "0.0.0.0:80", BLUE1, false),
        ("[::]:80", "192.0.2.1:80", BLUE1, false),
        ("192.0.2.9:80", "0.0.0.0:80", BLUE1, true),
        ("0.0.0.0:81", "0.0.0.0:80", BLUE1, true),
    ] {
        let sockets = [socket(unbound, None), socket(bound, Some(device))];
        let in_force = InForce {
            sockets: &sockets,
            ..InForce::from(&rules)
        };
        let verdict = in_force.decide(packet(BLUE, "192.0.2.1", 80));
        assert_eq!(
            matches!(verdict, Decision::Pass(PassReason::Listener { .. })),
            passes,
            "{unbound} beside {bound} on {device}: {verdict:?}"
        );
    }
}

#[test]
fn what_was_open_before_is_open_for_its_protocol_where_no_leak_names_the_vrf() {
    for posture in [Posture::Enforced, Posture::Audited, Posture::AsBefore] {
        let rules = rules(posture);
        let in_force = InForce {
            open_before: &[Protocol::Tcp],
            ..InForce::from(&rules)
        };
        let tcp = packet(BLUE, "192.0.2.1", 80);
        let udp = Packet {
            protocol: Protocol::Udp,
            ..tcp
        };
        let refused = match posture {
            Posture::Audited => Decision::Pass(PassReason::Audit(RefuseReason::NotListed)),
            Posture::Enforced | Posture::AsBefore => Decision::Refuse(RefuseReason::NotListed),
        };
        let open = match posture {
            Posture::AsBefore => Decision::Pass(PassReason::AsBefore),
            Posture::Enforced | Posture::Audited => refused,
        };
        assert_eq!(
            (in_force.decide(tcp), in_force.decide(udp)),
            (open, refused)
        );
    }
}
