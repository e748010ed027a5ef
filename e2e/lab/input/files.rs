//! What people may write wrong.

use super::{InForce, should_complain};
use crate::{
    leaks::{leak, open_tcp, service},
    net::V4,
    suite::{soon, tests},
};

tests! {
    "input";
    once:
        malformed_yaml_is_told_by_its_line,
        an_unknown_field_is_told_by_its_path,
        a_port_that_is_none_is_told_by_its_path,
        overlapping_services_are_told_by_path_and_name,
        leaks_that_overlap_are_told_by_their_names,
        a_mistake_in_an_edited_file_is_logged_and_shown_in_status_until_it_is_mended,
        a_file_that_is_gone_changes_nothing,
        a_vrf_that_does_not_exist_is_waited_for_and_shown_in_status;
}

/// Starts vrfgate anew with a bad file: it fails, says so, and what was in force stays in force.
#[track_caller]
fn is_refused(leaks: &str, words: &[&str]) {
    let in_force = InForce::left_alone();
    in_force.vrfgate.write(leaks);
    should_complain(&in_force.vrfgate.run_once(), words);
    in_force.should_still_be();
}

fn malformed_yaml_is_told_by_its_line() {
    is_refused(
        "apiVersion: vrfgate.dev/v1alpha1\nkind: [VrfLeak\n",
        &["leaks.yaml:"],
    );
}

fn an_unknown_field_is_told_by_its_path() {
    is_refused(
        &leak(
            "BLUE",
            "services: [{name: ssh, protocol: TCP, port: 22, prot: 22, addresses: [192.0.2.1/32]}]",
        ),
        &["leaks.yaml:", "spec.services[0].prot"],
    );
}

fn a_port_that_is_none_is_told_by_its_path() {
    is_refused(
        &leak(
            "BLUE",
            "services: [{name: ssh, protocol: TCP, port: 70000, addresses: [192.0.2.1/32]}]",
        ),
        &["spec.services[0].port", "70000", "1-65535"],
    );
}

fn overlapping_services_are_told_by_path_and_name() {
    is_refused(
        &leak(
            "BLUE",
            "services: [{name: low, protocol: TCP, port: 80, endPort: 90, addresses: [192.0.2.0/24]}, \
             {name: high, protocol: TCP, port: 85, addresses: [192.0.2.1/32]}]",
        ),
        &["spec.services[1]", "low", "85"],
    );
}

fn leaks_that_overlap_are_told_by_their_names() {
    let second = open_tcp("BLUE", &V4, &[80]).replace("name: blue}", "name: azure}");
    is_refused(
        &(open_tcp("BLUE", &V4, &[80]) + &second),
        &["blue", "azure", "80"],
    );
}

fn a_mistake_in_an_edited_file_is_logged_and_shown_in_status_until_it_is_mended() {
    let in_force = InForce::running();
    let vrfgate = &in_force.vrfgate;

    vrfgate.write(&leak(
        "BLUE",
        "services: [{name: ssh, protocol: TCP, port: 80, prot: 80, addresses: [192.0.2.1/32]}]",
    ));

    vrfgate.should_say("spec.services[0].prot");
    in_force.should_still_be();
    let status = vrfgate.status_text();
    assert!(status.contains("spec.services[0].prot"), "{status}");

    vrfgate.write(&open_tcp("BLUE", &V4, &[80]));
    in_force
        .client
        .connect(V4.main(80))
        .should_soon_reach("web");
    // The report comes after the gate.
    soon("status forgets the mistake", || {
        !vrfgate.status_text().contains("spec.services[0].prot")
    });
}

fn a_file_that_is_gone_changes_nothing() {
    let in_force = InForce::running();
    let file = in_force.vrfgate.leaks();

    std::fs::remove_file(&file).unwrap_or_else(|error| panic!("{error}"));

    in_force.vrfgate.should_say("leaks.yaml");
    in_force.should_still_be();
}

fn a_vrf_that_does_not_exist_is_waited_for_and_shown_in_status() {
    let in_force = InForce::running();
    let vrfgate = &in_force.vrfgate;
    let green = leak(
        "GREEN",
        &format!("services: [{}]", service(&V4, "TCP", 443)),
    );

    vrfgate.write(&(open_tcp("BLUE", &V4, &[22]) + &green));

    vrfgate.should_say("waits for VRF GREEN");
    let status = vrfgate.status_text();
    assert!(status.contains("waits for VRF GREEN"), "{status}");
    in_force.should_still_be();
}
