//! Files that are not what they should be, before any field is looked at.

use super::{assert_refused, complaints, with_metadata_and_spec, with_spec};
use crate::api::read_leaks;

#[test]
fn what_is_not_yaml_is_refused_with_its_line() {
    for (text, line, says) in [
        ("a: 1\nb: [2", 2, "unclosed bracket"),
        ("a: b: c", 1, "mapping values are not allowed"),
        ("a: 1\nb: 2\na: 3", 3, "duplicate mapping key `a`"),
        ("a: 1\nb: *x", 2, "reference to unknown value"),
        ("a: .nan", 1, "is not a finite number"),
    ] {
        let errors = read_leaks("leaks.yaml", text).unwrap_err();
        let [error] = errors.as_slice() else {
            panic!("{text}: {errors:#?}")
        };
        assert_eq!(error.place.line, Some(line), "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "one line each: {error}");
    }
}

#[test]
fn documents_of_other_kinds_are_named() {
    for (text, path, says) in [
        ("apiVersion: v1\nkind: Pod", "kind", "is Pod; only VrfLeak"),
        (
            "kind: VrfLeak",
            "apiVersion",
            "is required: vrfgate.dev/v1alpha1",
        ),
        (
            "apiVersion: vrfgate.dev/v1alpha1",
            "kind",
            "is required: VrfLeak",
        ),
        (
            "apiVersion: vrfgate.dev/v2\nkind: VrfLeak",
            "apiVersion",
            "is vrfgate.dev/v2; this vrfgate reads vrfgate.dev/v1alpha1",
        ),
        ("- a", "", "is not an object"),
        ("hello", "", "is not an object"),
    ] {
        assert_refused(text, path, says);
    }
}

#[test]
fn an_object_is_metadata_and_spec() {
    let head = "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\n";
    for (rest, path, says) in [
        ("metadata: {name: a}", "spec", "is required"),
        ("spec: {vrf: BLUE}", "metadata", "is required"),
        (
            "metadata: {name: a}\nspec: BLUE",
            "spec",
            "must be an object, not the text \"BLUE\"",
        ),
        ("metadata: a\nspec: {vrf: BLUE}", "metadata", "invalid type"),
        (
            "metadata: {name: a}\nspec: {vrf: BLUE}\nservices: []",
            "services",
            "unknown field, expected one of apiVersion, kind, metadata, spec, status",
        ),
    ] {
        assert_refused(&format!("{head}{rest}"), path, says);
    }
}

#[test]
fn a_complaint_says_file_line_document_and_field() {
    let text = format!(
        "# Two leaks, the second with a slip.\n{}---\n{}  # the end\n",
        with_spec("vrf: BLUE"),
        "apiVersion: vrfgate.dev/v1alpha1\n\
         kind: VrfLeak\n\
         metadata:\n  name: red\n\
         spec:\n  vrf: RED\n  services:\n    - name: ssh\n      protocol: TCP\n      port: 70000\n      \
         addresses:\n        - 192.0.2.1/32\n        - 192.0.2.1\n",
    );
    let errors = read_leaks("leaks.yaml", &text).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "leaks.yaml:16: document 2: spec.services[0].port: 70000 is not a port (1-65535)",
            "leaks.yaml:19: document 2: spec.services[0].addresses[1]: \
             192.0.2.1 is an address, not a prefix; write 192.0.2.1/32",
        ]
    );
}

#[test]
fn the_line_of_a_field_is_where_its_name_stands() {
    let text = with_spec("routes: [],\n  vrf:\n    a/b");
    let errors = read_leaks("leaks.yaml", &text).unwrap_err();
    assert_eq!(errors[0].place.line, Some(5), "{}", errors[0]);
}

#[test]
fn the_line_of_a_missing_field_is_that_of_the_object_around_it() {
    let text = with_spec("vrf: BLUE,\n  services: [\n    {name: a, protocol: TCP}]");
    let errors = read_leaks("leaks.yaml", &text).unwrap_err();
    assert_eq!(errors[0].place.line, Some(6), "{}", errors[0]);
}

#[test]
fn complaints_come_in_the_order_of_the_file() {
    let text = "spec:\n  returnRoutes:\n  - {prefix: 10.0.0.0/24, source: x}\n  vrf: a/b\n  prot: 5\n\
                metadata: {name: B}\nkind: VrfLeak\napiVersion: vrfgate.dev/v1alpha1\n";
    let paths: Vec<String> = complaints(text).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "spec.returnRoutes[0].source",
            "spec.vrf",
            "spec.prot",
            "metadata.name"
        ]
    );
}

#[test]
fn two_documents_may_not_have_one_name() {
    let text = format!("{}---\n{}", with_spec("vrf: BLUE"), with_spec("vrf: RED"));
    assert_refused(
        &text,
        "metadata.name",
        "document 1 is a VrfLeak named blue already",
    );
}

#[test]
fn one_bad_document_refuses_the_file() {
    let bad = with_metadata_and_spec("name: red", "vrf: ''");
    let text = format!("{}---\n{bad}", with_spec("vrf: BLUE"));
    assert_refused(&text, "spec.vrf", "must not be empty");
}
