//! One controller and what becomes of a leak: in conflict, without sense, deleted, and counted in its status.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use vrfgate_operator::api::NodeLeakState;

use crate::{
    agents::{report, report_why},
    controller::SSH,
    kit::{Kit, create, delete, eventually, merge},
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![
        of_two_leaks_in_conflict_the_older_stays_and_both_tell,
        a_leak_that_makes_no_sense_blocks_no_other,
        a_leak_that_is_edited_into_nonsense_stays_in_force_as_it_was,
        a_deleted_leak_waits_until_its_nodes_have_let_go,
        a_deleted_leak_waits_for_no_node_that_is_gone,
        the_status_counts_nodes_by_what_has_become_of_the_leak,
    ]
}

async fn of_two_leaks_in_conflict_the_older_stays_and_both_tell(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("older", SSH).await;
    let held = &["older Enforce: ssh 192.0.2.1/32 22"];
    kit.gate_becomes("a", held).await;
    // Kubernetes counts ages in seconds.
    sleep(Duration::from_millis(1100)).await;
    kit.leak("newer", &format!("{SSH}, mode: Audit")).await;

    for leak in ["older", "newer"] {
        let message = kit.condition_becomes(leak, "Conflicted", "Conflict").await;
        assert!(message.contains("disagree on VRF BLUE"), "{message}");
        kit.event_comes(leak, "Conflict").await;
    }
    kit.condition_becomes("newer", "Ready", "Conflict").await;
    // The rest still applies.
    kit.leak("red", &SSH.replace("BLUE", "RED")).await;
    kit.gate_becomes("a", &[held[0], "red Enforce: ssh 192.0.2.1/32 22"])
        .await;

    delete(&kit.leaks, "older").await;
    kit.gate_becomes(
        "a",
        &[
            "newer Audit: ssh 192.0.2.1/32 22",
            "red Enforce: ssh 192.0.2.1/32 22",
        ],
    )
    .await;
    kit.condition_becomes("newer", "Conflicted", "NoConflict")
        .await;
}

async fn a_leak_that_makes_no_sense_blocks_no_other(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    let twice = "vrf: BLUE, services: [
        {name: a, protocol: TCP, port: 22, addresses: [192.0.2.1/32]},
        {name: b, protocol: TCP, port: 22, addresses: [192.0.2.0/24]}]";
    kit.leak("bad", twice).await;
    kit.leak("good", SSH).await;
    kit.gate_becomes("a", &["good Enforce: ssh 192.0.2.1/32 22"])
        .await;
    let message = kit.condition_becomes("bad", "Accepted", "Invalid").await;
    assert!(
        message.contains("spec.services[1]: opens 192.0.2.1/32 22/TCP"),
        "{message}"
    );
    kit.event_comes("bad", "Invalid").await;

    // What no node ever got is gone at once.
    delete(&kit.leaks, "bad").await;
    kit.is_gone("bad").await;
}

async fn a_leak_that_is_edited_into_nonsense_stays_in_force_as_it_was(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    let ssh = "blue Enforce: ssh 192.0.2.1/32 22";
    kit.gate_becomes("a", &[ssh]).await;

    let service = |name: &str| json!({"name": name, "protocol": "TCP", "port": 80, "addresses": ["192.0.2.1/32"]});
    let twice = json!({"spec": {"services": [service("a"), service("b")]}});
    merge(&kit.leaks, "blue", twice).await;
    kit.condition_becomes("blue", "Accepted", "Invalid").await;
    controller.looks_again().await;
    assert_eq!(kit.gate("a").await.unwrap(), [ssh]);

    let once = json!({"spec": {"services": [service("a")]}});
    merge(&kit.leaks, "blue", once).await;
    kit.gate_becomes("a", &["blue Enforce: a 192.0.2.1/32 80"])
        .await;
}

async fn a_deleted_leak_waits_until_its_nodes_have_let_go(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    kit.gate_becomes("a", &["blue Enforce: ssh 192.0.2.1/32 22"])
        .await;
    let gate = kit.gates.get("a").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    kit.condition_becomes("blue", "Ready", "InForce").await;

    delete(&kit.leaks, "blue").await;
    kit.gate_becomes("a", &[]).await;
    let message = kit.condition_becomes("blue", "Ready", "Deleting").await;
    assert!(message.contains("released by a"), "{message}");
    merge(
        &kit.nodes,
        "a",
        json!({"metadata": {"annotations": {"round": "1"}}}),
    )
    .await;
    controller.looks_again().await;
    assert!(kit.leaks.get_opt("blue").await.unwrap().is_some());

    let gate = kit.gates.get("a").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    kit.is_gone("blue").await;
}

async fn a_deleted_leak_waits_for_no_node_that_is_gone(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    kit.gate_becomes("a", &["blue Enforce: ssh 192.0.2.1/32 22"])
        .await;
    let gate = kit.gates.get("a").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    kit.condition_becomes("blue", "Ready", "InForce").await;

    delete(&kit.leaks, "blue").await;
    kit.condition_becomes("blue", "Ready", "Deleting").await;
    delete(&kit.nodes, "a").await;
    kit.is_gone("blue").await;
}

async fn the_status_counts_nodes_by_what_has_become_of_the_leak(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    for (n, name) in ["in-force", "waiting", "failed", "silent"]
        .iter()
        .enumerate()
    {
        kit.node(name, "edge", &format!("192.0.2.{}", n + 1)).await;
    }
    create(
        &kit.nodes,
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "other-os", "labels": {"kubernetes.io/os": "windows"}},
        }),
    )
    .await;
    kit.leak("blue", SSH).await;
    for (name, state, notes) in [
        ("in-force", NodeLeakState::InForce, &[][..]),
        ("waiting", NodeLeakState::Waiting, &["waits for VRF BLUE"]),
        ("failed", NodeLeakState::Failed, &["the kernel is too old"]),
    ] {
        kit.gate_becomes(name, &["blue Enforce: ssh 192.0.2.1/32 22"])
            .await;
        let gate = kit.gates.get(name).await.unwrap();
        report(&kit.gates, &gate, state, notes).await;
    }
    let message = kit.condition_becomes("blue", "Ready", "Failed").await;
    assert!(
        message.contains("on failed: the kernel is too old"),
        "{message}"
    );
    kit.event_comes("blue", "Failed").await;
    eventually("the counts", async || {
        let status = kit.leaks.get("blue").await.unwrap().status.unwrap();
        let nodes = status.nodes.unwrap();
        let counts = [
            nodes.selected,
            nodes.in_force,
            nodes.waiting,
            nodes.failed,
            nodes.unreported,
        ];
        if counts == [4, 1, 1, 1, 1] && nodes.summary == "1/4" {
            Ok(())
        } else {
            Err(nodes)
        }
    })
    .await;

    // A node's own word for the reason is the condition's.
    let gate = kit.gates.get("failed").await.unwrap();
    let why = ["has no room beside older leaks"];
    report_why(
        &kit.gates,
        &gate,
        NodeLeakState::Failed,
        Some("NoRoom"),
        &why,
    )
    .await;
    let message = kit.condition_becomes("blue", "Ready", "NoRoom").await;
    assert!(message.contains("on failed: has no room"), "{message}");

    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    kit.condition_becomes("blue", "Ready", "Unreported").await;
    let gate = kit.gates.get("silent").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    let message = kit.condition_becomes("blue", "Ready", "Waiting").await;
    assert!(message.contains("VRF BLUE on waiting"), "{message}");
}
