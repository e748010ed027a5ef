//! What only a cluster gives a meaning to, as the controller reads it.

use super::{cases, with_spec};
use crate::api::{FieldError, GateLeak, VrfLeak, parse_cluster, parse_local};

fn object(spec: &str) -> VrfLeak {
    serde_saphyr::from_str(&with_spec(spec)).unwrap_or_else(|error| panic!("{spec}: {error}"))
}

#[test]
fn what_can_not_be_evaluated_is_refused_with_the_path_of_its_field() {
    for cases::Row(spec, path, says) in cases::REFUSED_IN_A_CLUSTER.iter().copied().flatten() {
        let errors = parse_cluster(&object(spec)).expect_err(spec);
        let [FieldError { path: at, message }] = errors.as_slice() else {
            panic!("{spec}: {errors:#?}")
        };
        assert_eq!(at.to_string(), *path, "{spec}: {message}");
        assert!(message.contains(says), "{spec}: {message}");
    }
}

#[test]
fn what_can_be_evaluated_is_accepted() {
    for spec in cases::ACCEPTED_IN_A_CLUSTER.iter().chain(cases::ACCEPTED) {
        if let Err(errors) = parse_cluster(&object(spec)) {
            panic!("{spec}: {errors:#?}");
        }
    }
}

#[test]
fn selectors_have_limits() {
    let labels: Vec<String> = (0..65).map(|n| format!("a{n}: b")).collect();
    let terms: Vec<String> = (0..65)
        .map(|n| format!("{{key: a{n}, operator: Exists}}"))
        .collect();
    let values: Vec<String> = (0..257).map(|n| format!("a{n}")).collect();
    for (selector, path) in [
        (
            format!("matchLabels: {{{}}}", labels.join(", ")),
            "matchLabels",
        ),
        (
            format!("matchExpressions: [{}]", terms.join(", ")),
            "matchExpressions",
        ),
        (
            format!(
                "matchExpressions: [{{key: a, operator: In, values: [{}]}}]",
                values.join(", ")
            ),
            "matchExpressions[0].values",
        ),
    ] {
        let errors = parse_cluster(&object(&format!("vrf: BLUE, nodeSelector: {{{selector}}}")));
        let errors: Vec<String> = errors
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        let [error] = errors.as_slice() else {
            panic!("{errors:#?}")
        };
        assert!(
            error.contains(&format!("spec.nodeSelector.{path}: has ")),
            "{error}"
        );
    }
}

#[test]
fn a_metric_of_0_is_the_default() {
    let routes = |spec: &str| parse_local(&object(spec)).unwrap().routes;
    assert_eq!(
        routes("vrf: BLUE, routes: [{prefix: 192.0.2.0/24, metric: 0}]"),
        routes("vrf: BLUE, routes: [{prefix: 192.0.2.0/24}]")
    );
}

/// An older controller may have let it through, and what is in force there does no harm.
#[test]
fn a_node_goes_on_with_what_it_was_given_before_that_was_refused() {
    let given: GateLeak = serde_json::from_value(serde_json::json!({
        "name": "blue", "generation": 1, "vrf": "BLUE", "mode": "Enforce", "replies": "Route",
        "routes": [{"prefix": "0.0.0.0/0", "device": "lo"}],
        "returnRoutes": [{"prefix": "127.0.0.0/8", "source": "127.0.0.1"}],
        "services": [{"name": "a", "protocol": "TCP", "port": 1, "endPort": 1,
                      "addresses": ["192.0.2.1/32"], "sources": ["2001:db8::/32"]}],
    }))
    .unwrap();
    if let Err(errors) = given.parse() {
        panic!("{errors:#?}");
    }
}

#[test]
fn a_node_refuses_what_it_was_given_with_the_paths_of_a_leak() {
    let given: GateLeak = serde_json::from_value(serde_json::json!({
        "name": "Blue", "generation": 1, "vrf": "", "mode": "enforce", "replies": "Steer",
        "routes": [{"prefix": "192.0.2.1/24", "metric": -1}, {"prefix": "10.0.0.0/8", "device": ""}],
        "returnRoutes": [{"prefix": "10.0.0.0/8", "source": "192.0.2.1"},
                         {"prefix": "10.0.0.0/8", "source": "192.0.2.1"},
                         {"prefix": "10.1.0.0/16", "source": "2001:db8::1"}],
        "services": [{"name": "a", "protocol": "SCTP", "port": 0, "endPort": 1, "addresses": ["x"]},
                     {"name": "b", "protocol": "TCP", "port": 2, "endPort": 1, "addresses": ["192.0.2.1/32"],
                      "sources": ["y"]},
                     {"name": "c", "protocol": "TCP", "port": 3, "endPort": 3, "addresses": ["192.0.2.1/32"]},
                     {"name": "c", "protocol": "TCP", "port": 3, "endPort": 3, "addresses": ["192.0.2.1/32"],
                      "sources": ["10.0.0.0/8"]}],
    }))
    .unwrap();
    let errors = given.parse().unwrap_err();
    let paths: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "metadata.name",
            "spec.vrf",
            "spec.mode",
            "spec.routes[0].prefix",
            "spec.routes[0].metric",
            "spec.routes[1].device",
            "spec.returnRoutes[2].source",
            "spec.returnRoutes[1].prefix",
            "spec.returnRoutes",
            "spec.services[0].protocol",
            "spec.services[0].port",
            "spec.services[0].addresses[0]",
            "spec.services[1].sources[0]",
            "spec.services[1].endPort",
            "spec.services[3].sources",
            "spec.services[3]",
        ],
        "{errors:#?}"
    );
}
