//! Two attachments of a pod in one VRF that ask for the same in part.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vrfgate_e2e::{Agent, CniNode, Host, Lab, Listener};

use super::{
    agent::{only, spec},
    open_to,
};
use crate::{net::V4, suite::tests};

tests! {
    "cni::overlap";
    once:
        overlapping_attachments_are_both_open_without_an_agent_and_keep_their_counters_when_one_takes_over,
        overlapping_attachments_are_both_open_under_an_agent_that_was_there_first,
        attachments_that_contradict_each_other_are_refused_alike_with_and_without_an_agent;
}

/// What the second interface has beside 8080, which both have.
const DNS: u16 = 53;
/// Listed by nothing.
const CLOSED: u16 = 22;

/// 8080, which [`open_to`] opens, too, by another name; and port 53.
fn second() -> Value {
    json!({"services": [
        {"name": "web", "protocol": "TCP", "port": 8080},
        {"name": "dns", "protocol": "UDP", "port": DNS},
        {"name": "dns-tcp", "protocol": "TCP", "port": DNS},
    ]})
}

/// As [`second`], to BLUE.
fn second_to_blue() -> Value {
    let mut config = second();
    config["vrf"] = "BLUE".into();
    config
}

fn required(mut config: Value) -> Value {
    config["required"] = true.into();
    config
}

/// A pod with servers on all of these ports, and a client in its VRF.
fn pod() -> (Lab, Host, Vec<Listener>) {
    let (pod, client) = V4.one_vrf();
    pod.ip(&V4.return_route("BLUE"));
    let mut servers: Vec<Listener> = [CLOSED, DNS, 8080]
        .map(|port| pod.listen("pod").tcp(V4.any(port)))
        .into();
    servers.push(pod.listen("pod").udp(V4.main(DNS)));
    (pod, client, servers)
}

/// What both interfaces ask for is open, and nothing else.
#[track_caller]
fn both_are_open(client: &Host) {
    client.connect(V4.main(8080)).should_reach("pod");
    client.connect(V4.main(DNS)).should_reach("pod");
    client.ask(V4.main(DNS)).should_reach("pod");
    client.connect(V4.main(CLOSED)).should_be_refused();
}

/// How many connections each rule has let in.
#[track_caller]
fn counted(node: &CniNode, pod: &Host) -> BTreeMap<String, u64> {
    let status = node.status(pod);
    let vrfs = status["gate"]["vrfs"].as_array().into_iter().flatten();
    let rules = vrfs.flat_map(|vrf| vrf["rules"].as_array().into_iter().flatten());
    let counted: BTreeMap<String, u64> = rules
        .filter_map(|rule| {
            Some((
                rule["name"].as_str()?.to_owned(),
                rule["hits"]["passed"].as_u64()?,
            ))
        })
        .collect();
    assert!(!counted.is_empty(), "{status}");
    counted
}

/// An agent that selects no pods, once it keeps the gate of this one.
#[must_use]
#[track_caller]
fn agent_takes_over(node: &CniNode, machine: &Host, pod: &Host) -> Agent {
    let agent = node.agent(machine, &spec(&[], &[]));
    agent.should_say(&format!(
        "looking after the gate of network namespace {}",
        pod.netns().name()
    ));
    agent
}

fn overlapping_attachments_are_both_open_without_an_agent_and_keep_their_counters_when_one_takes_over()
 {
    let machine = Lab::new();
    let (pod, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open_to("BLUE", 8080));
    let net2 = node.interface(&pod, "net2", &second_to_blue());
    let check_both = || {
        net1.must("CHECK");
        net2.must("CHECK");
    };

    net1.add();
    net2.add();
    both_are_open(&client);
    check_both();
    let by_the_plugin = counted(&node, &pod);
    let names: Vec<&str> = by_the_plugin.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "cni.blue.net1/http",
            "cni.blue.net2/dns",
            "cni.blue.net2/dns-tcp"
        ]
    );
    assert!(
        by_the_plugin.values().all(|count| *count > 0),
        "{by_the_plugin:?}"
    );

    let agent = agent_takes_over(&node, &machine, &pod);
    // No client has connected meanwhile.
    assert_eq!(counted(&node, &pod), by_the_plugin);
    both_are_open(&client);
    check_both();
    let by_the_agent = counted(&node, &pod);
    for (rule, before) in &by_the_plugin {
        let after = by_the_agent.get(rule);
        assert!(after > Some(before), "{rule}: {before} {after:?}");
    }

    agent.kill();
    check_both();
    let load = client.keep_connecting(&[V4.main(8080), V4.main(DNS)], &[V4.main(CLOSED)]);
    load.go_on(6);
    net1.del();
    load.go_on(6);
    load.should_have_met_no_surprise();
    drop(load);
    both_are_open(&client);
    net2.must("CHECK");
    let by_net2 = counted(&node, &pod);
    for rule in ["cni.blue.net2/dns", "cni.blue.net2/dns-tcp"] {
        let (before, after) = (by_the_agent.get(rule), by_net2.get(rule));
        assert!(after > before, "{rule}: {before:?} {after:?}");
    }
    assert!(by_net2.contains_key("cni.blue.net2/web"), "{by_net2:?}");

    net2.del();
    only(&client, &[]);
    client.connect(V4.main(DNS)).should_be_refused();
    client.ask(V4.main(DNS)).should_be_refused();
    assert_eq!(node.records(), Vec::<std::path::PathBuf>::new());
}

fn overlapping_attachments_are_both_open_under_an_agent_that_was_there_first() {
    let machine = Lab::new();
    let (pod, client, _servers) = pod();
    let node = CniNode::new();
    let agent = node.agent(&machine, &spec(&[], &[]));
    // One names the VRF, the other means every one.
    let net1 = node.interface(&pod, "net1", &required(open_to("BLUE", 8080)));
    let net2 = node.interface(&pod, "net2", &required(second()));

    net2.add();
    both_are_open(&client);
    net1.add();
    both_are_open(&client);
    net1.must("CHECK");
    net2.must("CHECK");

    net1.del();
    both_are_open(&client);
    net2.must("CHECK");
    net1.add();
    net2.del();
    only(&client, &[8080]);
    client.connect(V4.main(DNS)).should_be_refused();
    net1.must("CHECK");

    net1.del();
    only(&client, &[]);
    assert_eq!(pod.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
    drop(agent);
}

fn attachments_that_contradict_each_other_are_refused_alike_with_and_without_an_agent() {
    let machine = Lab::new();
    let (pod, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open_to("BLUE", 8080));
    net1.add();
    let contradictions: Vec<_> = [
        json!({"name": "web", "protocol": "TCP", "port": 8080, "sources": ["10.0.0.0/25"]}),
        json!({"name": "web", "protocol": "TCP", "port": 8080, "addresses": ["192.0.2.1/32"]}),
        json!({"name": "web", "protocol": "TCP", "port": 8000, "endPort": 8080}),
    ]
    .into_iter()
    .map(|web| {
        let dns = json!({"name": "dns", "protocol": "TCP", "port": DNS});
        let config = json!({"vrf": "BLUE", "required": false, "services": [dns, web]});
        node.interface(&pod, "net2", &config)
    })
    .collect();
    let refused = || -> Vec<Value> {
        let before = (node.records(), counted(&node, &pod));
        let all = contradictions.iter().map(|net2| {
            net2.should_refuse(
                "ADD",
                7,
                "services: service web opens 8080/TCP, which http of net1",
            );
            net2.call("ADD").said
        });
        let all = all.collect();
        assert_eq!(before, (node.records(), counted(&node, &pod)));
        // Nothing of them, not only what contradicts.
        only(&client, &[8080]);
        client.connect(V4.main(DNS)).should_be_refused();
        net1.must("CHECK");
        contradictions[0].should_refuse("CHECK", 101, "not recorded");
        all
    };

    let without_agent = refused();
    let _agent = agent_takes_over(&node, &machine, &pod);
    assert_eq!(refused(), without_agent);
    assert_eq!(node.records().len(), 1);
}
