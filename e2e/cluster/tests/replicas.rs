//! Several controllers, and controllers that die.

use std::time::Duration;

use serde_json::json;

use crate::{
    agents::Agents,
    kit::{Kit, eventually, merge},
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![
        one_replica_leads_and_another_takes_over_when_it_leaves,
        another_replica_takes_over_from_one_that_was_killed,
        a_controller_waits_out_an_api_server_that_is_away,
        a_replica_is_ready_once_it_knows_the_cluster,
    ]
}

const SSH: &str =
    "vrf: BLUE, services: [{name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]}]";

async fn one_replica_leads_and_another_takes_over_when_it_leaves(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let mut one = kit.controller("one").await;
    one.leads().await;
    let two = kit.controller("two").await;
    eventually("the readiness of the standby", async || {
        two.get("/readyz")
            .filter(|(status, _)| *status == 200)
            .ok_or("not ready")
    })
    .await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    kit.gate_becomes("a", &["blue Enforce: ssh 192.0.2.1/32 22"])
        .await;
    assert_eq!(two.metric("vrfgate_controller_leading"), 0.0);
    assert_eq!(two.metric("vrfgate_controller_pass_seconds_count"), 0.0);

    one.process.stop();
    two.leads().await;
    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    kit.gate_becomes("a", &["blue Audit: ssh 192.0.2.1/32 22"])
        .await;
}

async fn another_replica_takes_over_from_one_that_was_killed(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let mut one = kit.controller("one").await;
    one.leads().await;
    let two = kit.controller("two").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    kit.gate_becomes("a", &["blue Enforce: ssh 192.0.2.1/32 22"])
        .await;
    one.process.kill();
    // No replica leads for a while; changes of that time must not be lost.
    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    kit.gate_becomes("a", &["blue Audit: ssh 192.0.2.1/32 22"])
        .await;
    two.leads().await;
}

async fn a_controller_waits_out_an_api_server_that_is_away(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _agents = Agents::of_all_nodes(&suite.admin);
    let mut controller = kit.controller("one").await;
    kit.node("a", "edge", "192.0.2.1").await;
    kit.leak("blue", SSH).await;
    kit.condition_becomes("blue", "Ready", "InForce").await;
    let before = kit.versions().await;

    let outage = Duration::from_mins(1);
    suite
        .away_while(async || tokio::time::sleep(outage).await)
        .await;
    controller.process.check_running().unwrap();
    controller.leads().await;
    controller.looks_again().await;
    assert_eq!(
        kit.versions().await,
        before,
        "nothing has changed meanwhile"
    );
    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    kit.gate_becomes("a", &["blue Audit: ssh 192.0.2.1/32 22"])
        .await;
}

async fn a_replica_is_ready_once_it_knows_the_cluster(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let controller = kit.controller("one").await;
    eventually("the readiness", async || {
        controller
            .get("/readyz")
            .filter(|(status, _)| *status == 200)
            .ok_or("not ready")
    })
    .await;
    assert_eq!(controller.get("/healthz").unwrap().0, 200);
}
