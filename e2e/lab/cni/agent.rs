//! The agent and its pods: rules of leaks reach pods that run, and stay right over its end.

use serde_json::{Value, json};
use vrfgate_e2e::{CniNode, Host, Lab};

use super::open;
use crate::{
    net::V4,
    suite::{soon, tests},
};

tests! {
    "cni";
    once:
        leaks_open_what_they_list_in_pods_that_they_select_and_in_no_other,
        a_pod_that_runs_gets_and_loses_rules_while_the_agent_is_not_there_to_see,
        a_vrf_that_comes_later_is_closed_and_gets_what_is_for_every_vrf,
        a_pod_that_goes_leaves_nothing_with_its_agent_or_without,
        what_pods_have_left_that_vanished_goes_when_an_agent_comes;
}

/// What a node is asked for: these pods get a leak that opens these TCP ports to BLUE.
pub(super) fn spec(pods: &[&str], ports: &[u16]) -> Value {
    let pods: Vec<Value> = pods
        .iter()
        .map(|pod| json!({"namespace": "core", "name": pod, "uid": pod, "leaks": ["upf"]}))
        .collect();
    let services: Vec<Value> = ports
        .iter()
        .map(|port| {
            json!({"name": format!("s{port}"), "protocol": "TCP", "port": port, "endPort": port,
                   "addresses": ["0.0.0.0/0"]})
        })
        .collect();
    json!({
        "pods": pods,
        "podLeaks": [{
            "name": "upf", "generation": 1, "vrf": "BLUE", "mode": "Enforce", "replies": "Route",
            "services": services,
        }],
    })
}

/// A pod with servers on 22, 80 and 8080, and a client in its VRF.
pub(super) fn pod() -> (Lab, Host, Vec<vrfgate_e2e::Listener>) {
    let (pod, client) = V4.one_vrf();
    let servers = [22, 80, 8080].map(|port| pod.listen("pod").tcp(("0.0.0.0", port)));
    (pod, client, servers.into())
}

/// The client reaches these ports of the pod, of the three.
#[track_caller]
pub(super) fn only(client: &Host, open: &[u16]) {
    for port in [22, 80, 8080] {
        let attempt = client.connect(V4.main(port));
        if open.contains(&port) {
            attempt.should_reach("pod");
        } else {
            attempt.should_be_refused();
        }
    }
}

fn leaks_open_what_they_list_in_pods_that_they_select_and_in_no_other() {
    let machine = Lab::new();
    let (one, its_client, _servers) = pod();
    let (other, others_client, _others) = pod();
    let node = CniNode::new();
    let early = node
        .interface(&one, "net1", &open(8080))
        .of_pod("core", "one");
    early.add();
    only(&its_client, &[8080]);

    let _agent = node.agent(&machine, &spec(&["one"], &[22]));
    its_client.connect(V4.main(22)).should_soon_reach("pod");
    only(&its_client, &[22, 8080]);
    let late = node
        .interface(&other, "net1", &open(8080))
        .of_pod("core", "other");
    late.add();
    only(&others_client, &[8080]);

    // An attachment's services are open when ADD ends, whichever process holds the gate.
    let second = node
        .interface(&one, "net2", &open(80))
        .of_pod("core", "one");
    second.add();
    only(&its_client, &[22, 80, 8080]);
    second.del();
    only(&its_client, &[22, 8080]);
}

fn a_pod_that_runs_gets_and_loses_rules_while_the_agent_is_not_there_to_see() {
    let machine = Lab::new();
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node
        .interface(&one, "net1", &open(8080))
        .of_pod("core", "one");
    let agent = node.agent(&machine, &spec(&["one"], &[22]));
    net1.add();
    client.connect(V4.main(22)).should_soon_reach("pod");

    agent.kill();
    only(&client, &[22, 8080]);
    let agent = node.agent(&machine, &spec(&["one"], &[80]));
    client.connect(V4.main(22)).should_soon_be_refused();
    only(&client, &[80, 8080]);

    // As when the pod has another label.
    agent.kill();
    let _agent = node.agent(&machine, &spec(&[], &[]));
    client.connect(V4.main(80)).should_soon_be_refused();
    only(&client, &[8080]);
    net1.must("CHECK");
}

fn a_vrf_that_comes_later_is_closed_and_gets_what_is_for_every_vrf() {
    let machine = Lab::new();
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    node.interface(&one, "net1", &open(8080))
        .of_pod("core", "one")
        .add();
    let _agent = node.agent(&machine, &spec(&["one"], &[22]));
    // By now the agent keeps the pod's gate. Before, no process did.
    client.connect(V4.main(22)).should_soon_reach("pod");

    let red = one
        .vrf("RED")
        .slave("red1", "10.9.0.1/24")
        .client("10.9.0.2/24");

    red.connect("10.9.0.1:8080").should_soon_reach("pod");
    red.connect("10.9.0.1:22").should_be_refused();
    red.connect("10.9.0.1:80").should_be_refused();
}

fn a_pod_that_goes_leaves_nothing_with_its_agent_or_without() {
    let machine = Lab::new();
    let (one, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node
        .interface(&one, "net1", &open(8080))
        .of_pod("core", "one");
    let agent = node.agent(&machine, &spec(&["one"], &[22]));
    net1.add();
    net1.del();
    only(&client, &[]);
    assert_eq!(one.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
    net1.add();
    client.connect(V4.main(22)).should_soon_reach("pod");

    agent.kill();
    net1.del();
    only(&client, &[]);
    let left: Vec<_> = node
        .left()
        .into_iter()
        .filter(|path| {
            let own = one.netns().inode().to_string();
            path.to_string_lossy().contains(&own)
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn what_pods_have_left_that_vanished_goes_when_an_agent_comes() {
    let machine = Lab::new();
    let (stays, client, _servers) = pod();
    let (vanishes, its_client, its_servers) = pod();
    let node = CniNode::new();
    let net1 = node.interface(&stays, "net1", &open(8080));
    net1.add();
    node.interface(&vanishes, "net1", &open(8080)).add();
    let number = vanishes.netns().inode().to_string();
    let name = vanishes.netns().name().to_owned();
    let left = || {
        let mut left = node.left();
        left.extend(node.records());
        left.retain(|path| {
            let path = path.to_string_lossy();
            path.contains(&number) || path.contains(&name)
        });
        left
    };
    // The runtime is killed, and never calls DEL.
    drop((its_servers, its_client, vanishes));
    assert!(left().len() >= 2, "{:?}", left());

    let _agent = node.agent(&machine, &spec(&[], &[]));
    soon("the pod's remains are gone", || left().is_empty());
    only(&client, &[8080]);
    net1.must("CHECK");
}
