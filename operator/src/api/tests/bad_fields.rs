//! One mistake a row, in an object that is otherwise right: everything but services.

use super::{
    Row, assert_all_refused, assert_refused, complaints, with_metadata_and_spec, with_spec,
};

#[test]
fn a_vrf_is_named_as_the_kernel_names_devices() {
    assert_all_refused(&[
        Row("mode: Audit", "spec.vrf", "is required"),
        Row("vrf: ''", "spec.vrf", "must not be empty"),
        Row(
            "vrf: SIXTEEN-BYTES-16",
            "spec.vrf",
            "is 16 bytes long; at most 15",
        ),
        Row("vrf: äöüäöüäö", "spec.vrf", "is 16 bytes long; at most 15"),
        Row("vrf: a/b", "spec.vrf", "contains '/'"),
        Row("vrf: 'a:b'", "spec.vrf", "contains ':'"),
        Row("vrf: 'a b'", "spec.vrf", "contains ' '"),
        Row("vrf: \"a\\tb\"", "spec.vrf", "contains '\\t'"),
        Row("vrf: voilà", "spec.vrf", "contains 'à'"),
        Row("vrf: ..", "spec.vrf", "cannot name a network device"),
        Row("vrf: 10", "spec.vrf", "must be text; write \"10\""),
        Row("vrf: true", "spec.vrf", "must be text; write \"true\""),
        Row("vrf: [BLUE]", "spec.vrf", "must be text, not a list"),
        Row("vrf:", "spec.vrf", "is empty, must be text"),
    ]);
}

#[test]
fn words_are_spelt_as_listed() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, mode: audit",
            "spec.mode",
            "\"audit\" must be written Audit",
        ),
        Row(
            "vrf: BLUE, mode: Off",
            "spec.mode",
            "must be Enforce or Audit",
        ),
        Row(
            "vrf: BLUE, mode: {}",
            "spec.mode",
            "must be text, not an object",
        ),
        Row(
            "vrf: BLUE, replies: steer",
            "spec.replies",
            "must be written Steer",
        ),
        Row(
            "vrf: BLUE, replies: None",
            "spec.replies",
            "must be Route or Steer",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: tcp, port: 1, addresses: [192.0.2.1/32]}]",
            "spec.services[0].protocol",
            "\"tcp\" must be written TCP",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: SCTP, port: 1, addresses: [192.0.2.1/32]}]",
            "spec.services[0].protocol",
            "must be TCP or UDP",
        ),
    ]);
}

#[test]
fn unknown_fields_are_named_with_those_there_are() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, service: []",
            "spec.service",
            "unknown field, expected one of mode, nodeSelector, pods, replies, returnRoutes, routes, services, vrf",
        ),
        Row(
            "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], prot: 1}]",
            "spec.services[0].prot",
            "unknown field, expected one of addresses, endPort, name, port, protocol, serviceRef, sources",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, dev: lan}]",
            "spec.routes[0].dev",
            "unknown field, expected one of device, metric, prefix",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1, src: x}]",
            "spec.returnRoutes[0].src",
            "unknown field, expected one of prefix, source",
        ),
        Row(
            "vrf: BLUE, nodeSelector: {matchLabel: {}}",
            "spec.nodeSelector.matchLabel",
            "unknown field, expected one of matchExpressions, matchLabels",
        ),
    ]);
}

#[test]
fn routes_are_prefixes_with_legal_devices_and_metrics() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, routes: 192.0.2.0/24",
            "spec.routes",
            "must be a list, not the text",
        ),
        Row(
            "vrf: BLUE, routes: [192.0.2.0/24]",
            "spec.routes[0]",
            "must be an object",
        ),
        Row(
            "vrf: BLUE, routes: [{device: lan}]",
            "spec.routes[0].prefix",
            "is required",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: lan}]",
            "spec.routes[0].prefix",
            "\"lan\" is not a prefix",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/33}]",
            "spec.routes[0].prefix",
            "is not a prefix",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.1}]",
            "spec.routes[0].prefix",
            "write 192.0.2.1/32",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: '2001:db8::1'}]",
            "spec.routes[0].prefix",
            "write 2001:db8::1/128",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.1/24}]",
            "spec.routes[0].prefix",
            "192.0.2.1/24 has host bits set; write 192.0.2.0/24 or 192.0.2.1/32",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: '2001:db8::1/64'}]",
            "spec.routes[0].prefix",
            "write 2001:db8::/64 or 2001:db8::1/128",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, device: a b}]",
            "spec.routes[0].device",
            "contains ' '",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, device: BLUE}]",
            "spec.routes[0].device",
            "is the VRF that the route leads out of",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, metric: -1}]",
            "spec.routes[0].metric",
            "-1 is not a route metric (0-4294967295)",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, metric: 4294967296}]",
            "spec.routes[0].metric",
            "is not a route metric",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}, {prefix: 192.0.2.0/24, device: lan}]",
            "spec.routes[1].prefix",
            "192.0.2.0/24 is there already, at spec.routes[0].prefix",
        ),
    ]);
}

#[test]
fn return_routes_have_a_source_that_servers_can_answer_from() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24}]",
            "spec.returnRoutes[0].source",
            "is required",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1/32}]",
            "spec.returnRoutes[0].source",
            "192.0.2.1/32 is a prefix",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: lan}]",
            "spec.returnRoutes[0].source",
            "\"lan\" is not an IP address",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: '2001:db8::1'}]",
            "spec.returnRoutes[0].source",
            "2001:db8::1 is not of the address family of 10.0.0.0/24",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: '::ffff:192.0.2.1'}]",
            "spec.returnRoutes[0].source",
            "write 192.0.2.1",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 0.0.0.0}]",
            "spec.returnRoutes[0].source",
            "no server can answer from 0.0.0.0",
        ),
        Row(
            "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/8, source: 192.0.2.1}, {prefix: 10.0.0.0/8, source: 192.0.2.2}]",
            "spec.returnRoutes[1].prefix",
            "10.0.0.0/8 is there already, at spec.returnRoutes[0].prefix",
        ),
        Row(
            "vrf: BLUE, replies: Steer, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1}]",
            "spec.returnRoutes",
            "are of no use with replies: Steer",
        ),
    ]);
}

#[test]
fn what_needs_kubernetes_is_refused_without_it() {
    assert_all_refused(&[
        Row(
            "vrf: BLUE, nodeSelector: {matchLabels: {role: edge}}",
            "spec.nodeSelector",
            "selects by the labels of Kubernetes nodes",
        ),
        Row("vrf: BLUE, pods: {}", "spec.pods", "needs Kubernetes"),
        Row(
            "vrf: BLUE, services: [{name: web, serviceRef: {namespace: web, name: frontend}}]",
            "spec.services[0].serviceRef",
            "needs Kubernetes; without it, write protocol, port and addresses",
        ),
        Row(
            "vrf: BLUE, services: [{name: web, serviceRef: {name: frontend}}]",
            "spec.services[0].serviceRef.namespace",
            "is required",
        ),
    ]);
}

#[test]
fn lists_have_limits() {
    let routes: Vec<String> = (0..65)
        .map(|n| format!("{{prefix: 10.{n}.0.0/16}}"))
        .collect();
    let routes = format!("vrf: BLUE, routes: [{}]", routes.join(", "));
    let services: Vec<String> = (1..=257)
        .map(|n| format!("{{name: s{n}, protocol: TCP, port: {n}, addresses: [192.0.2.1/32]}}"))
        .collect();
    let services = format!("vrf: BLUE, services: [{}]", services.join(", "));
    let prefixes = |count| {
        let prefixes: Vec<String> = (0..count)
            .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
            .collect();
        prefixes.join(", ")
    };
    let addresses = format!(
        "vrf: BLUE, services: [{{name: a, protocol: TCP, port: 1, addresses: [{}]}}]",
        prefixes(65)
    );
    let sources = format!(
        "vrf: BLUE, services: [{{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: [{}]}}]",
        prefixes(257)
    );
    for (spec, path, says) in [
        (&routes, "spec.routes", "has 65 entries; at most 64"),
        (&services, "spec.services", "has 257 entries; at most 256"),
        (
            &addresses,
            "spec.services[0].addresses",
            "has 65 entries; at most 64",
        ),
        (
            &sources,
            "spec.services[0].sources",
            "has 257 entries; at most 256",
        ),
    ] {
        assert_refused(&with_spec(spec), path, says);
    }
}

#[test]
fn metadata_names_the_leak_and_little_else() {
    for (metadata, path, says) in [
        ("labels: {a: b}", "metadata.name", "is required"),
        ("name: Blue", "metadata.name", "lower-case"),
        ("name: blue..vrf", "metadata.name", "each part"),
        (
            "name: blue, namespace: web",
            "metadata.namespace",
            "expected one of name, labels, annotations",
        ),
        ("name: 5", "metadata.name", "invalid type"),
        (
            "name: blue, labels: {a: 5}",
            "metadata.labels.a",
            "invalid type",
        ),
    ] {
        assert_refused(&with_metadata_and_spec(metadata, "vrf: BLUE"), path, says);
    }
}

#[test]
fn all_mistakes_of_an_object_are_told_at_once() {
    let found = complaints(&with_spec(
        "vrf: a b, mode: off, color: blue, routes: [{prefix: 192.0.2.1/24}],
         services: [{name: A, protocol: tcp, port: 0}, {name: b, protocol: UDP, port: 70000}]",
    ));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.color",
            "spec.vrf",
            "spec.mode",
            "spec.routes[0].prefix",
            "spec.services[0].name",
            "spec.services[0].protocol",
            "spec.services[0].port",
            "spec.services[1].port",
        ]
    );
}
