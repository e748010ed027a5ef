//! From records and the `VrfGateNode` to what pods hold, and what is said of it.

use serde_json::json;
use vrfgate_core::{Attachment, Pod};
use vrfgate_core::{Leak, VrfName};

use super::{
    gate::{Refusal, State},
    status::outcomes,
    wanted::{Settled, Wanted},
};
use crate::{
    api::{GateLeak, GatePod, NodeLeakState, VrfGateNodeSpec},
    node::{LeakReport, LeakState, Report},
};

fn attachment(ifname: &str, vrf: Option<&str>, port: u16) -> Attachment {
    let mut attachment = json!({
        "network": "Blue_Net", "containerId": "c1", "ifname": ifname,
        "netns": {"path": "/run/netns/pod", "inode": 7, "cookie": 9},
        "pod": {"namespace": "core", "name": "upf-0", "uid": "u1"},
        "services": [{"name": "http", "protocol": "TCP", "port": port}],
    });
    if let Some(vrf) = vrf {
        attachment["vrf"] = vrf.into();
    }
    serde_json::from_value(attachment).unwrap()
}

fn gate_leak(name: &str, vrf: &str, port: u16) -> GateLeak {
    serde_json::from_value(json!({
        "name": name, "generation": 3, "vrf": vrf, "mode": "Enforce", "replies": "Route",
        "services": [{"name": "s", "protocol": "TCP", "port": port, "endPort": port,
                      "addresses": ["0.0.0.0/0"]}],
    }))
    .unwrap()
}

fn asked(leaks: &[GateLeak]) -> VrfGateNodeSpec {
    VrfGateNodeSpec {
        leaks: vec![],
        pods: vec![GatePod {
            namespace: "core".into(),
            name: "upf-0".into(),
            uid: "u1".into(),
            leaks: leaks.iter().map(|leak| leak.name.clone()).collect(),
        }],
        pod_leaks: leaks.iter().cloned().map(Into::into).collect(),
    }
}

fn settle(attachments: &[Attachment], leaks: &[GateLeak], vrfs: &[&str]) -> Settled {
    let asked = asked(leaks);
    let vrfs: Vec<VrfName> = vrfs.iter().map(|vrf| vrf.parse().unwrap()).collect();
    Wanted::new(attachments, asked.pods.first(), &asked.pod_leaks).settle(&vrfs)
}

fn ports(leaks: &[Leak]) -> Vec<(&str, u16)> {
    leaks
        .iter()
        .flat_map(|leak| {
            let services = leak.services.iter();
            services.map(|service| (leak.vrf.as_str(), service.ports.first()))
        })
        .collect()
}

#[test]
fn services_without_a_vrf_are_for_every_vrf_there_is_and_others_for_theirs() {
    let attachments = [
        attachment("net1", None, 8080),
        attachment("net2", Some("RED"), 9090),
    ];
    let settled = settle(&attachments, &[], &["BLUE", "RED"]);
    assert_eq!(
        ports(&settled.leaks),
        [("BLUE", 8080), ("RED", 8080), ("RED", 9090)]
    );
    assert_eq!(settled.left_out, []);
    let settled = settle(&attachments, &[], &[]);
    assert_eq!(ports(&settled.leaks), [("RED", 9090)], "it waits");
}

#[test]
fn leaks_add_to_what_the_network_says_and_never_replace_it() {
    let attachments = [attachment("net1", None, 8080)];
    let leaks = [
        gate_leak("more", "BLUE", 22),
        gate_leak("same", "BLUE", 8080),
    ];
    let settled = settle(&attachments, &leaks, &["BLUE"]);
    assert_eq!(ports(&settled.leaks), [("BLUE", 8080), ("BLUE", 22)]);
    assert_eq!(settled.left_out.len(), 1);
    let (name, why) = &settled.left_out[0];
    assert_eq!(name, "same");
    assert!(why.contains("cni.blue-net-"), "{why}");
}

/// As the plugin alone does it; see the lab for the rules of both.
#[test]
fn what_two_networks_open_alike_is_open_once_and_keeps_nothing_else_out() {
    let mut both = attachment("net2", Some("BLUE"), 8080);
    let dns = json!([{"name": "dns", "protocol": "UDP", "port": 53}]);
    let dns = vrfgate_core::services(serde_json::from_value(dns).unwrap());
    both.services.extend(dns.unwrap());
    let settled = settle(
        &[attachment("net1", None, 8080), both],
        &[],
        &["BLUE", "RED"],
    );
    assert_eq!(
        ports(&settled.leaks),
        [("BLUE", 8080), ("BLUE", 53), ("RED", 8080)]
    );
    assert_eq!(settled.left_out, []);
}

#[test]
fn an_attachment_that_contradicts_another_is_left_out_and_named() {
    let mut other = attachment("net2", Some("BLUE"), 8080);
    other.services[0].ports = (8080..=8081).try_into().unwrap();
    let settled = settle(&[attachment("net1", None, 8080), other], &[], &["BLUE"]);
    assert_eq!(ports(&settled.leaks), [("BLUE", 8080)]);
    let (name, why) = &settled.left_out[0];
    assert!(name.starts_with("net2 of container c1"), "{name}");
    assert!(why.contains("8080/TCP") && why.contains("net1"), "{why}");
}

#[test]
fn a_leak_that_cannot_be_read_keeps_no_other_from_being_in_force() {
    let mut bad = gate_leak("bad", "BLUE", 22);
    bad.mode = "Sometimes".into();
    let settled = settle(&[], &[bad, gate_leak("good", "BLUE", 23)], &["BLUE"]);
    assert_eq!(ports(&settled.leaks), [("BLUE", 23)]);
    assert_eq!(settled.left_out[0].0, "bad");
}

fn state(leaks: &[GateLeak], in_force: &[&str]) -> State {
    let asked = asked(leaks);
    State {
        wanted: Wanted::new(&[], asked.pods.first(), &asked.pod_leaks),
        report: Some(Report {
            leaks: in_force
                .iter()
                .map(|name| LeakReport {
                    name: (*name).into(),
                    vrf: "BLUE".into(),
                    state: LeakState::InForce,
                    reason: None,
                    notes: vec![],
                })
                .collect(),
            ..Report::default()
        }),
        ..State::default()
    }
}

#[test]
fn the_outcome_of_a_leak_is_the_worst_of_its_pods() {
    let leaks = [gate_leak("upf", "BLUE", 22)];
    let asked = asked(&leaks);
    let pod: Pod = serde_json::from_value(json!({"namespace": "core", "name": "upf-0"})).unwrap();

    let (pods, sums) = outcomes(&asked, &[(Some(&pod), state(&leaks, &["upf"]))]);
    assert_eq!(sums[0].state, NodeLeakState::InForce);
    assert_eq!(pods[0].leaks[0].generation, 3);

    let (pods, sums) = outcomes(&asked, &[]);
    assert_eq!(sums[0].state, NodeLeakState::Waiting);
    assert!(sums[0].notes[0].contains("CNI plugin"), "{sums:?}");
    assert_eq!(pods.len(), 1);

    let mut failed = state(&leaks, &["upf"]);
    failed.trouble = Some(Refusal {
        why: "no memory".into(),
        later: true,
    });
    let other: Pod = serde_json::from_value(json!({"namespace": "core", "name": "upf-1"})).unwrap();
    let states = [
        (Some(&pod), state(&leaks, &["upf"])),
        (Some(&other), failed),
    ];
    let (_, sums) = outcomes(&asked, &states);
    assert_eq!(sums[0].state, NodeLeakState::Failed);
    assert!(sums[0].notes[0].contains("core/upf-1"), "{sums:?}");
    assert!(sums[0].notes[0].contains("no memory"), "{sums:?}");
}

#[test]
fn an_edition_that_is_not_in_force_yet_is_not_told_as_if_it_were() {
    let old = [gate_leak("upf", "BLUE", 22)];
    let mut new = old.clone();
    new[0].generation = 4;
    let pod: Pod = serde_json::from_value(json!({"namespace": "core", "name": "upf-0"})).unwrap();
    let (_, sums) = outcomes(&asked(&new), &[(Some(&pod), state(&old, &["upf"]))]);
    assert_eq!(sums[0].state, NodeLeakState::Waiting);
}
