//! Devices that are enslaved to a VRF, moved and released.

use super::{Host, Link, LinkKind, NodeFacts, compile, leak, packet, passes, tcp};

fn host() -> NodeFacts {
    Host::default()
        .device("lan")
        .address("192.0.2.1")
        .vrf("BLUE")
        .slave("blue1", "BLUE")
        .address("10.0.0.1")
        .vrf("RED")
        .slave("red1", "RED")
        .address("10.0.0.1")
        .device("br0")
        .slave("port1", "br0")
        .facts()
        .clone()
}

fn number(facts: &NodeFacts, name: &str) -> u32 {
    let link = facts.links.iter().find(|link| link.name == name);
    link.unwrap().ifindex
}

fn device(facts: &NodeFacts, name: &str, master: Option<&str>) -> Link {
    Link {
        ifindex: number(facts, name),
        name: name.to_owned(),
        kind: LinkKind::Other,
        master: master.map(|master| number(facts, master)),
    }
}

#[test]
fn a_packet_that_shows_a_slave_is_decided_as_one_of_its_vrf_where_it_is_ipv4() {
    let facts = host();
    let mut blue = leak("blue", "BLUE");
    blue.services
        .push(tcp("ssh", 22, &["10.0.0.0/24", "2001:db8::/32"]));
    let desired = compile(&[blue], &facts);
    let shows = |name: &str, address: &str, port| packet(number(&facts, name), address, port);
    for (ingress, address, port, expected) in [
        ("blue1", "10.0.0.1", 22, true),
        ("blue1", "10.0.0.1", 80, false),
        ("red1", "10.0.0.1", 22, false),
        ("port1", "10.0.0.1", 80, true),
        ("lan", "10.0.0.1", 80, true),
        ("blue1", "fe80::1", 80, true),
        ("BLUE", "fe80::1", 80, false),
    ] {
        assert_eq!(
            passes(&desired, shows(ingress, address, port)),
            expected,
            "{ingress} {address} {port}"
        );
    }
}

#[test]
fn what_changes_vrfs_or_their_slaves_is_for_the_gate_to_know_at_once() {
    let mut facts = host();
    for (name, master, expected) in [
        ("br0", Some("BLUE"), true),
        ("br0", Some("BLUE"), false),
        ("br0", Some("RED"), true),
        ("br0", None, true),
        ("port1", None, false),
        ("port1", Some("br0"), false),
        ("port1", Some("RED"), true),
        ("lan", Some("br0"), false),
    ] {
        let link = device(&facts, name, master);
        assert_eq!(
            facts.update_link(link.clone()),
            expected,
            "{name} {master:?}"
        );
        assert!(facts.links.contains(&link));
        assert_eq!(facts.links.len(), host().links.len());
    }
    assert_eq!(
        facts.slaves_of(number(&facts, "RED")),
        [number(&facts, "red1"), number(&facts, "port1")]
    );
}

#[test]
fn a_vrf_that_is_new_or_changed_and_its_slaves_are_for_the_gate_to_know_at_once() {
    let mut facts = host();
    let green = Link {
        ifindex: 99,
        name: "GREEN".to_owned(),
        kind: LinkKind::Vrf { table: Some(30) },
        master: None,
    };
    assert!(facts.update_link(green.clone()));
    assert!(!facts.update_link(green.clone()));
    let slave = device(&facts, "br0", Some("GREEN"));
    assert!(facts.update_link(slave));
    let renamed = Link {
        name: "LIME".to_owned(),
        ..green
    };
    assert!(facts.update_link(renamed.clone()));
    // Another device has the name of one that is gone by now.
    let successor = Link {
        ifindex: 100,
        ..renamed
    };
    assert!(facts.update_link(successor));
    assert!(facts.slaves_of(100).is_empty());
    assert!(facts.links.iter().all(|link| link.ifindex != 99));
}
