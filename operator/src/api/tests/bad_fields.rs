//! One mistake a row, in an object that is otherwise right: everything but services.

use super::{
    Row, assert_all_refused, assert_refused, cases, complaints, with_metadata_and_spec, with_spec,
};

#[test]
fn a_vrf_is_named_as_the_kernel_names_devices() {
    assert_all_refused(cases::VRF_NAMES);
}

#[test]
fn words_are_spelt_as_listed() {
    assert_all_refused(cases::WORDS);
}

#[test]
fn unknown_fields_are_named_with_those_there_are() {
    assert_all_refused(cases::UNKNOWN_FIELDS);
}

#[test]
fn routes_are_prefixes_with_legal_devices_and_metrics() {
    assert_all_refused(cases::ROUTES);
}

#[test]
fn return_routes_have_a_source_that_servers_can_answer_from() {
    assert_all_refused(cases::RETURN_ROUTES);
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
