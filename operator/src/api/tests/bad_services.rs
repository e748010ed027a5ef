//! One mistake a row, in a service of an object that is otherwise right.

use super::{assert_all_refused, cases, complaints, with_spec};

#[test]
fn a_service_has_a_name_a_protocol_and_ports() {
    assert_all_refused(cases::SERVICES);
}

#[test]
fn a_service_opens_unicast_prefixes_to_unicast_prefixes() {
    assert_all_refused(cases::PREFIXES);
}

#[test]
fn a_service_has_an_address_of_the_family_of_a_source() {
    assert_all_refused(cases::FAMILIES);
}

#[test]
fn services_of_a_leak_open_nothing_twice() {
    assert_all_refused(cases::OVERLAPS);
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
