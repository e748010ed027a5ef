//! Which local addresses a prefix stands for.

use super::{Host, Leak, NodeFacts, compile, ip, leak, tcp};

/// What a service on `prefix` opens to clients of BLUE.
fn opened(host: &Host, prefix: &str) -> Vec<String> {
    let leaks = [Leak {
        services: vec![tcp("ssh", 22, &[prefix])],
        ..leak("blue", "BLUE")
    }];
    opened_by(&leaks, host.facts())
}

fn opened_by(leaks: &[Leak], facts: &NodeFacts) -> Vec<String> {
    let desired = compile(leaks, facts);
    let blue = desired.vrfs.iter().find(|vrf| vrf.name == "BLUE").unwrap();
    blue.services[0]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Two VRFs, each with a slave of its own, and a main domain.
fn two_vrfs() -> Host {
    Host::default()
        .device("lo")
        .address("127.0.0.1")
        .address("::1")
        .device("lan")
        .address("192.0.2.1")
        .address("192.0.2.2")
        .address("2001:db8::1")
        .address("fe80::1")
        .address("169.254.20.10")
        .vrf("BLUE")
        .address("198.51.100.1")
        .slave("blue1", "BLUE")
        .address("10.0.0.1")
        .vrf("RED")
        .address("198.51.100.2")
        .slave("red1", "RED")
        .address("10.0.0.3")
}

#[test]
fn a_prefix_opens_the_local_addresses_inside_it() {
    assert_eq!(
        opened(&two_vrfs(), "192.0.2.0/24"),
        ["192.0.2.1", "192.0.2.2"]
    );
    assert_eq!(opened(&two_vrfs(), "192.0.2.2/32"), ["192.0.2.2"]);
    assert_eq!(opened(&two_vrfs(), "2001:db8::/32"), ["2001:db8::1"]);
}

#[test]
fn addresses_of_the_vrf_itself_and_its_slaves_can_be_opened() {
    assert_eq!(opened(&two_vrfs(), "198.51.100.0/24"), ["198.51.100.1"]);
    assert_eq!(opened(&two_vrfs(), "10.0.0.0/8"), ["10.0.0.1"]);
}

#[test]
fn addresses_of_another_vrf_stay_closed_even_if_named() {
    assert!(opened(&two_vrfs(), "10.0.0.3/32").is_empty());
    assert!(opened(&two_vrfs(), "198.51.100.2/32").is_empty());
}

#[test]
fn loopback_and_link_local_addresses_are_opened_only_on_purpose() {
    assert_eq!(
        opened(&two_vrfs(), "0.0.0.0/0"),
        ["10.0.0.1", "192.0.2.1", "192.0.2.2", "198.51.100.1"]
    );
    assert_eq!(opened(&two_vrfs(), "::/0"), ["2001:db8::1"]);
    assert_eq!(opened(&two_vrfs(), "fe80::/10"), ["fe80::1"]);
    assert_eq!(opened(&two_vrfs(), "fe80::1/128"), ["fe80::1"]);
    assert_eq!(opened(&two_vrfs(), "127.0.0.0/8"), ["127.0.0.1"]);
    for wide in ["168.0.0.0/6", "169.254.0.0/15", "126.0.0.0/7", "fe80::/9"] {
        assert_eq!(opened(&two_vrfs(), wide), [""; 0], "{wide}");
    }
    for narrow in ["169.254.0.0/16", "169.254.20.10/32"] {
        assert_eq!(opened(&two_vrfs(), narrow), ["169.254.20.10"]);
    }
    assert_eq!(opened(&two_vrfs(), "::1/128"), ["::1"]);
}

#[test]
fn a_vrf_is_seen_through_bridges_and_bonds() {
    let host = Host::default()
        .vrf("BLUE")
        .vrf("RED")
        .slave("br0", "RED")
        .slave("bond0", "br0")
        .slave("eth0", "bond0")
        .address("192.0.2.1")
        .device("br1")
        .slave("eth1", "br1")
        .address("192.0.2.2");
    assert_eq!(opened(&host, "192.0.2.0/24"), ["192.0.2.2"]);
}

#[test]
fn an_address_on_several_devices_is_opened_once() {
    let host = Host::default()
        .vrf("BLUE")
        .slave("blue1", "BLUE")
        .address("192.0.2.1")
        .device("lan")
        .address("192.0.2.1");
    assert_eq!(opened(&host, "192.0.2.0/24"), ["192.0.2.1"]);
}

#[test]
fn nested_prefixes_open_an_address_once() {
    let leaks = [Leak {
        services: vec![tcp("ssh", 22, &["192.0.2.2/32", "192.0.2.0/24"])],
        ..leak("blue", "BLUE")
    }];
    assert_eq!(
        opened_by(&leaks, two_vrfs().facts()),
        ["192.0.2.1", "192.0.2.2"]
    );
}

#[test]
fn devices_that_the_facts_do_not_place_open_nothing() {
    let mut host = Host::default()
        .vrf("BLUE")
        .device("lan")
        .address("192.0.2.1");
    // The master has gone between two netlink dumps.
    host.facts_mut().links[1].master = Some(99);
    assert!(opened(&host, "192.0.2.0/24").is_empty());
    // A device renumbered between two dumps is its own master.
    host.facts_mut().links[1].master = Some(2);
    assert!(opened(&host, "192.0.2.0/24").is_empty());
    // The device itself has gone.
    host.facts_mut().links.truncate(1);
    assert!(opened(&host, "192.0.2.0/24").is_empty());
}

#[test]
fn prefixes_without_a_local_address_are_told() {
    let leaks = [Leak {
        services: vec![tcp(
            "ssh",
            22,
            &["203.0.113.0/24", "192.0.2.0/24", "10.0.0.3/32"],
        )],
        ..leak("blue", "BLUE")
    }];
    let desired = compile(&leaks, two_vrfs().facts());
    let service = &desired.vrfs[0].services[0];
    let unmatched: Vec<String> = service.unmatched.iter().map(ToString::to_string).collect();
    assert_eq!(unmatched, ["203.0.113.0/24", "10.0.0.3/32"]);
    assert_eq!(service.addresses, [ip("192.0.2.1"), ip("192.0.2.2")]);
}

/// What a service on `prefix` opens where `local` is local as a whole.
fn opened_whole(local: &str, prefix: &str) -> Vec<String> {
    let host = Host::default()
        .device("lo")
        .local_prefix("127.0.0.0/8")
        .local_prefix(local)
        .vrf("BLUE");
    let leaks = [Leak {
        services: vec![tcp("ssh", 22, &[prefix])],
        ..leak("blue", "BLUE")
    }];
    let desired = compile(&leaks, host.facts());
    let service = &desired.vrfs[0].services[0];
    assert_eq!(
        service.prefixes.is_empty(),
        service.unmatched == [prefix.parse().unwrap()]
    );
    service.prefixes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_prefix_that_is_local_as_a_whole_is_opened_as_far_as_the_service_goes() {
    let local = "203.0.113.0/24";
    assert_eq!(opened_whole(local, "203.0.113.0/24"), [local]);
    assert_eq!(opened_whole(local, "203.0.0.0/16"), [local]);
    assert_eq!(
        opened_whole(local, "203.0.113.128/25"),
        ["203.0.113.128/25"]
    );
    assert_eq!(opened_whole(local, "203.0.113.7/32"), ["203.0.113.7/32"]);
    assert_eq!(opened_whole(local, "192.0.2.0/24"), [""; 0]);
    assert_eq!(opened_whole("2001:db8::/64", "::/0"), ["2001:db8::/64"]);
    assert_eq!(opened_whole("2001:db8::/64", "0.0.0.0/0"), [""; 0]);
}

#[test]
fn the_whole_of_loopback_is_opened_only_by_a_prefix_wholly_inside_it() {
    let local = "203.0.113.0/24";
    assert_eq!(opened_whole(local, "0.0.0.0/0"), [local]);
    assert_eq!(opened_whole(local, "127.0.0.0/16"), ["127.0.0.0/16"]);
}

#[test]
fn of_a_prefix_that_is_local_as_a_whole_link_local_addresses_stay_closed() {
    assert_eq!(opened_whole("169.254.0.0/16", "0.0.0.0/0"), [""; 0]);
    assert_eq!(
        opened_whole("169.254.0.0/16", "169.254.20.0/24"),
        ["169.254.20.0/24"]
    );
    assert_eq!(opened_whole("fe80::/10", "::/0"), [""; 0]);
    assert_eq!(
        opened_whole("169.252.0.0/14", "0.0.0.0/0"),
        ["169.252.0.0/15", "169.255.0.0/16"]
    );
    assert_eq!(opened_whole("fe80::/9", "fe80::/9"), ["fec0::/10"]);
    assert_eq!(opened_whole("fe80::/9", "fe80::/10"), ["fe80::/10"]);
}
