//! One controller and the cluster around it: what reaches which node, and how often it is written.

use serde_json::json;
use vrfgate_operator::api::NodeLeakState;

use crate::{
    agents::{Agents, report},
    kit::{Kit, delete, eventually, merge},
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![
        a_leak_reaches_the_nodes_that_it_selects_and_leaves_them,
        nodes_come_go_and_change_their_labels,
        endpoints_in_the_hosts_own_network_are_opened_where_they_run,
        a_reference_to_nothing_is_told,
        what_is_as_it_should_be_is_not_written_again,
        each_status_and_each_gate_is_written_once,
    ]
}

pub const SSH: &str =
    "vrf: BLUE, services: [{name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]}]";

async fn a_leak_reaches_the_nodes_that_it_selects_and_leaves_them(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _agents = Agents::of_all_nodes(&suite.admin);
    let _controller = kit.controller("one").await;
    kit.node("edge", "edge", "192.0.2.1").await;
    kit.node("core", "core", "192.0.2.2").await;
    kit.leak(
        "blue",
        &format!("{SSH}, nodeSelector: {{matchLabels: {{role: edge}}}}"),
    )
    .await;

    kit.gate_becomes("edge", &["blue Enforce: ssh 192.0.2.1/32 22"])
        .await;
    kit.gate_becomes("core", &[]).await;
    kit.condition_becomes("blue", "Ready", "InForce").await;
    let leak = kit.leaks.get("blue").await.unwrap();
    let nodes = leak.status.unwrap().nodes.unwrap();
    assert_eq!(nodes.summary, "1/1");

    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    kit.gate_becomes("edge", &["blue Audit: ssh 192.0.2.1/32 22"])
        .await;
    kit.condition_becomes("blue", "Ready", "InForce").await;

    let anywhere = json!({"spec": {"nodeSelector": null}});
    merge(&kit.leaks, "blue", anywhere).await;
    kit.gate_becomes("core", &["blue Audit: ssh 192.0.2.1/32 22"])
        .await;

    delete(&kit.leaks, "blue").await;
    kit.gate_becomes("edge", &[]).await;
    kit.gate_becomes("core", &[]).await;
    kit.is_gone("blue").await;
}

async fn nodes_come_go_and_change_their_labels(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    kit.leak(
        "blue",
        &format!("{SSH}, nodeSelector: {{matchExpressions: [{{key: role, operator: In, values: [edge]}}]}}"),
    )
    .await;
    kit.condition_becomes("blue", "Ready", "NoNodes").await;
    let held = &["blue Enforce: ssh 192.0.2.1/32 22"];

    kit.node("first", "edge", "192.0.2.1").await;
    kit.gate_becomes("first", held).await;
    kit.relabel("first", "core").await;
    kit.gate_becomes("first", &[]).await;
    kit.relabel("first", "edge").await;
    kit.gate_becomes("first", held).await;

    let before = kit.gates.get("first").await.unwrap();
    delete(&kit.nodes, "first").await;
    eventually("the end of the gate of a deleted node", async || {
        kit.gate("first").await.map_or(Ok(()), Err)
    })
    .await;
    kit.node("first", "edge", "192.0.2.1").await;
    kit.gate_becomes("first", held).await;
    let after = kit.gates.get("first").await.unwrap();
    assert_ne!(before.metadata.uid, after.metadata.uid);
    assert_ne!(
        before.metadata.owner_references, after.metadata.owner_references,
        "it belongs to the new node"
    );
}

const WEB: &str = "vrf: BLUE, services: [{name: web, serviceRef: {namespace: default, name: frontend, ports: [http]}}]";

async fn endpoints_in_the_hosts_own_network_are_opened_where_they_run(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.node("b", "edge", "192.0.2.2").await;
    kit.service().await;
    kit.leak("web", WEB).await;
    kit.gate_becomes("a", &["web Enforce: "]).await;

    // One on the host's network, one in a pod's own, one that claims another node's address.
    kit.endpoints(
        8080,
        &[("a", "192.0.2.1"), ("b", "10.244.1.7"), ("b", "192.0.2.1")],
    )
    .await;
    kit.gate_becomes("a", &["web Enforce: web 192.0.2.1/32 8080"])
        .await;
    kit.gate_becomes("b", &["web Enforce: "]).await;

    kit.endpoints(8081, &[("a", "192.0.2.1")]).await;
    kit.gate_becomes("a", &["web Enforce: web 192.0.2.1/32 8081"])
        .await;
    kit.endpoints(8081, &[("b", "192.0.2.2")]).await;
    kit.gate_becomes("a", &["web Enforce: "]).await;
    kit.gate_becomes("b", &["web Enforce: web 192.0.2.2/32 8081"])
        .await;

    delete(&kit.slices, "frontend-1").await;
    kit.gate_becomes("b", &["web Enforce: "]).await;
}

async fn a_reference_to_nothing_is_told(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("web", WEB).await;
    let message = kit
        .condition_becomes("web", "ReferencesResolved", "NotFound")
        .await;
    assert!(message.contains("no Service default/frontend"), "{message}");
    let note = kit.event_comes("web", "NotFound").await;
    assert!(note.contains("no Service default/frontend"), "{note}");

    kit.service().await;
    kit.condition_becomes("web", "ReferencesResolved", "Resolved")
        .await;
    merge(
        &kit.services,
        "frontend",
        json!({"spec": {"ports": [{"name": "https", "port": 443}]}}),
    )
    .await;
    let message = kit
        .condition_becomes("web", "ReferencesResolved", "NotFound")
        .await;
    assert!(message.contains("has no port http"), "{message}");
}

async fn what_is_as_it_should_be_is_not_written_again(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let agents = Agents::of_all_nodes(&suite.admin);
    let mut controller = kit.controller("one").await;
    for n in 1..=5 {
        kit.node(&format!("n{n}"), "edge", &format!("192.0.2.{n}"))
            .await;
    }
    kit.leak("blue", SSH).await;
    kit.leak("red", &SSH.replace("BLUE", "RED")).await;
    kit.condition_becomes("blue", "Ready", "InForce").await;
    kit.condition_becomes("red", "Ready", "InForce").await;
    controller.looks_again().await;
    let before = kit.versions().await;
    let writes = || {
        let writes = ["gate", "status", "finalizer", "event"];
        writes.map(|what| {
            controller.metric(&format!(
                "vrfgate_controller_writes_total{{what=\"{what}\"}}"
            ))
        })
    };
    let written = writes();
    assert!(written[0] >= 5.0, "{written:?}");

    // Nothing of this concerns any gate.
    for round in 0..3 {
        for n in 1..=5 {
            let heartbeat = json!({"metadata": {"annotations": {"round": round.to_string()}}});
            merge(&kit.nodes, &format!("n{n}"), heartbeat).await;
        }
        kit.endpoints(8080 + round, &[("n1", "192.0.2.1")]).await;
        controller.looks_again().await;
    }
    assert_eq!(kit.versions().await, before);
    // Nor was anything sent that the server then found to be the same.
    assert_eq!(writes().map(f64::to_bits), written.map(f64::to_bits));
    assert_eq!(
        controller.metric("vrfgate_controller_write_errors_total"),
        0.0
    );

    // What concerns one writes one.
    merge(
        &kit.leaks,
        "blue",
        json!({"spec": {"nodeSelector": {"matchLabels": {"role": "edge"}}}}),
    )
    .await;
    kit.condition_becomes("blue", "Ready", "InForce").await;
    kit.relabel("n3", "core").await;
    kit.gate_becomes("n3", &["red Enforce: ssh 192.0.2.1/32 22"])
        .await;
    kit.condition_becomes("blue", "Ready", "InForce").await;
    controller.looks_again().await;
    let after = kit.versions().await;
    assert_eq!(after["leak red"], before["leak red"]);

    // A new process takes all of it as it is.
    controller.process.stop();
    let controller = kit.controller("two").await;
    controller.leads().await;
    controller.looks_again().await;
    assert_eq!(kit.versions().await, after);
    drop(agents);
}

async fn each_status_and_each_gate_is_written_once(suite: &Suite) {
    let kit = Kit::new(suite).await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    let controller = kit.controller("one").await;
    kit.condition_becomes("blue", "Ready", "Unreported").await;
    let look = async |round: &str| {
        let patch = json!({"metadata": {"annotations": {"round": round}}});
        merge(&kit.nodes, "a", patch).await;
        controller.looks_again().await;
    };
    let writes = |what: &str| {
        controller.metric(&format!(
            "vrfgate_controller_writes_total{{what=\"{what}\"}}"
        ))
    };
    look("1").await;
    assert_eq!((writes("gate"), writes("status")), (1.0, 1.0));

    let gate = kit.gates.get("a").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    kit.condition_becomes("blue", "Ready", "InForce").await;
    look("2").await;
    assert_eq!((writes("gate"), writes("status")), (1.0, 2.0));
}
