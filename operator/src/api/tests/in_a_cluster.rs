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
