//! One mistake a row, in a service of an object that is otherwise right.

use super::{Row, assert_all_refused, assert_refused, complaints, with_spec};

#[test]
fn a_service_has_a_name_a_protocol_and_ports() {
    /// Puts the fields into the only service of a leak that has a route.
    fn assert_service_refused(fields: &str, path: &str, says: &str) {
        let spec =
            format!("vrf: BLUE, routes: [{{prefix: 192.0.2.0/24}}], services: [{{{fields}}}]");
        assert_refused(&with_spec(&spec), path, says);
    }
    for (fields, path, says) in [
        (
            "protocol: TCP, port: 22",
            "spec.services[0].name",
            "is required",
        ),
        (
            "name: '', protocol: TCP, port: 22",
            "spec.services[0].name",
            "must not be empty",
        ),
        (
            "name: Ssh, protocol: TCP, port: 22",
            "spec.services[0].name",
            "lower-case",
        ),
        (
            "name: ssh-, protocol: TCP, port: 22",
            "spec.services[0].name",
            "at both ends",
        ),
        (
            "name: ssh, port: 22",
            "spec.services[0].protocol",
            "is required: TCP or UDP",
        ),
        (
            "name: ssh, protocol: TCP",
            "spec.services[0].port",
            "is required without serviceRef",
        ),
        (
            "name: ssh, protocol: TCP, port: 70000",
            "spec.services[0].port",
            "70000 is not a port (1-65535)",
        ),
        (
            "name: ssh, protocol: TCP, port: -1",
            "spec.services[0].port",
            "-1 is not a port (1-65535)",
        ),
        (
            "name: ssh, protocol: TCP, port: 0",
            "spec.services[0].port",
            "every port is port: 1, endPort: 65535",
        ),
        (
            "name: ssh, protocol: TCP, port: ssh",
            "spec.services[0].port",
            "must be an integer, not the text \"ssh\"",
        ),
        (
            "name: ssh, protocol: TCP, port: 22.5",
            "spec.services[0].port",
            "must be an integer",
        ),
        (
            "name: ssh, protocol: TCP, port: 18446744073709551615",
            "spec.services[0].port",
            "18446744073709551615",
        ),
        (
            "name: ssh, protocol: TCP, endPort: 22",
            "spec.services[0].endPort",
            "needs port",
        ),
        (
            "name: ssh, protocol: TCP, port: 22, endPort: 21",
            "spec.services[0].endPort",
            "21 is below port 22",
        ),
        (
            "name: ssh, protocol: TCP, port: 22, endPort: 65536",
            "spec.services[0].endPort",
            "65536 is not a port",
        ),
    ] {
        assert_service_refused(fields, path, says);
    }
}

#[test]
fn a_service_opens_unicast_prefixes_to_unicast_prefixes() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1}]",
            "spec.services[0].addresses",
            "is required, because spec.routes is empty",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1]}]",
            "spec.services[0].addresses[0]",
            "write 192.0.2.1/32",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: ['::ffff:192.0.2.0/120']}]",
            "spec.services[0].addresses[0]",
            "is an IPv4 address in IPv6 notation; write 192.0.2.0/24",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [224.0.0.0/4]}]",
            "spec.services[0].addresses[0]",
            "is multicast",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [0.0.0.0/32]}]",
            "spec.services[0].addresses[0]",
            "write 0.0.0.0/0",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: ['::/128']}]",
            "spec.services[0].addresses[0]",
            "write ::/0",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32, 192.0.2.1/32]}]",
            "spec.services[0].addresses[1]",
            "is there already, at spec.services[0].addresses[0]",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: [10.1.1.1/8]}]",
            "spec.services[0].sources[0]",
            "write 10.0.0.0/8 or 10.1.1.1/32",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: [5]}]",
            "spec.services[0].sources[0]",
            "must be text",
        ),
    ]);
}

#[test]
fn services_of_a_leak_open_nothing_twice() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, services: [
                {name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]},
                {name: more, protocol: TCP, port: 1, endPort: 100, addresses: [198.51.100.0/24, 192.0.2.0/24]}]",
            "spec.services[1]",
            "opens 192.0.2.1/32 22/TCP, which spec.services[0] (ssh) opens already",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: '2001:db8::/32'}], services: [
                {name: all, protocol: UDP, port: 1, endPort: 65535},
                {name: dns, protocol: UDP, port: 53, endPort: 54, sources: ['2001:db8:1::/48']}]",
            "spec.services[1]",
            "opens 2001:db8::/32 53-54/UDP, which spec.services[0] (all) opens already",
        ),
        Row(
            "vrf: BLUE, services: [
                {name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32]},
                {name: a, protocol: TCP, port: 2, addresses: [192.0.2.1/32]}]",
            "spec.services[1].name",
            "a is there already, at spec.services[0].name",
        ),
    ]);
}

#[test]
fn nothing_stands_beside_a_service_reference() {
    for (field, value) in [
        ("protocol", "TCP"),
        ("port", "80"),
        ("endPort", "81"),
        ("addresses", "[192.0.2.1/32]"),
    ] {
        let spec = format!(
            "vrf: BLUE, services: [{{name: web, serviceRef: {{namespace: web, name: b}}, {field}: {value}}}]"
        );
        let path = format!("spec.services[0].{field}");
        let found = complaints(&with_spec(&spec));
        assert!(
            found
                .iter()
                .any(|(at, says)| *at == path && says.contains("must not stand beside serviceRef")),
            "{spec}: {found:#?}"
        );
    }
}
