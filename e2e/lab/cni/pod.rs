//! One pod: its VRFs are there when the plugin comes, as behind the plugin `vrf`. The lab's router stands for it.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    mem::offset_of,
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread::{self, JoinHandle},
};

use aya::maps::{HashMap, Map, MapData};
use serde_json::{Value, json};
use vrfgate_abi::{LAYOUT, RuleKey, RuleValue};
use vrfgate_e2e::{CniNode, Lab};

use super::{open, open_to};
use crate::{net::Net, suite::tests};

tests! {
    "cni";
    each family:
        a_pod_serves_the_listed_port_to_its_vrf_and_no_other,
        a_server_that_is_bound_to_the_vrf_goes_on_without_being_listed;
    once:
        a_udp_service_is_served_and_another_is_not,
        two_interfaces_in_two_vrfs_have_a_gate_together_and_rules_of_their_own,
        check_sees_what_is_not_as_add_left_it,
        check_sees_a_service_that_is_not_open_any_more_on_an_address_that_add_opened,
        a_pod_that_needs_an_agent_does_not_start_without_one,
        an_agent_hears_of_each_attachment_with_its_rules_in_force,
        services_that_contradict_those_of_another_interface_change_nothing;
}

const TCP: &str = "net.ipv4.tcp_l3mdev_accept";

fn a_pod_serves_the_listed_port_to_its_vrf_and_no_other(net: &Net) {
    let (pod, client) = net.one_vrf();
    let (_http, _ssh) = (
        pod.listen("http").tcp(net.any(8080)),
        pod.listen("ssh").tcp(net.any(22)),
    );
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open(8080));
    client.connect(net.main(8080)).should_be_refused();

    net1.add();
    net1.add();
    for address in [net.main(8080), net.router(8080)] {
        client.connect(address).should_reach("http");
    }
    for address in [net.main(22), net.router(22)] {
        client.connect(address).should_be_refused();
    }
    pod.connect(net.main(22)).should_reach("ssh");
    net1.must("CHECK");

    net1.del();
    client.connect(net.main(8080)).should_be_refused();
    assert!(node.left().is_empty(), "{:?}", node.left());
    assert_eq!(pod.sysctl(TCP), "0");
}

fn a_server_that_is_bound_to_the_vrf_goes_on_without_being_listed(net: &Net) {
    let (pod, client) = net.one_vrf();
    let _bgp = pod.listen("bgp").bound_to("BLUE").tcp(net.any(179));
    let node = CniNode::new();
    node.interface(&pod, "net1", &open(8080)).add();
    client.connect(net.router(179)).should_reach("bgp");
    let _later = pod.listen("later").bound_to("BLUE").tcp(net.any(180));
    client.connect(net.router(180)).should_reach("later");
}

fn a_udp_service_is_served_and_another_is_not() {
    let net = &crate::net::V4;
    let (pod, client) = net.one_vrf();
    let (_dns, _ntp) = (
        pod.listen("dns").udp(net.main(53)),
        pod.listen("ntp").udp(net.main(123)),
    );
    pod.ip("route add 10.0.0.0/24 dev BLUE");
    let node = CniNode::new();
    let services = json!({"services": [{"name": "dns", "protocol": "UDP", "port": 53}]});
    let net1 = node.interface(&pod, "net1", &services);
    net1.add();
    client.ask(net.main(53)).should_reach("dns");
    client.ask(net.main(123)).should_be_refused();
    net1.del();
    assert_eq!(pod.sysctl("net.ipv4.udp_l3mdev_accept"), "0");
}

fn two_interfaces_in_two_vrfs_have_a_gate_together_and_rules_of_their_own() {
    let pod = Lab::new();
    let blue = pod
        .vrf("BLUE")
        .slave("blue1", "10.0.0.1/24")
        .client("10.0.0.2/24");
    let red = pod
        .vrf("RED")
        .slave("red1", "10.9.0.1/24")
        .client("10.9.0.2/24");
    let _servers: Vec<_> = [8080_u16, 9090]
        .map(|port| pod.listen("pod").tcp(("0.0.0.0", port)))
        .into();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open_to("BLUE", 8080));
    let net2 = node.interface(&pod, "net2", &open_to("RED", 9090));

    net1.add();
    red.connect("192.0.2.1:8080").should_be_refused();
    net2.add();
    blue.connect("192.0.2.1:8080").should_reach("pod");
    red.connect("192.0.2.1:9090").should_reach("pod");
    blue.connect("192.0.2.1:9090").should_be_refused();
    red.connect("192.0.2.1:8080").should_be_refused();
    // Each has its own address opened, and not the other's.
    red.connect("10.9.0.1:9090").should_reach("pod");

    net1.del();
    blue.connect("192.0.2.1:8080").should_be_refused();
    red.connect("192.0.2.1:9090").should_reach("pod");
    net2.must("CHECK");
    net2.del();
    red.connect("192.0.2.1:9090").should_be_refused();
    assert!(node.left().is_empty(), "{:?}", node.left());
    assert_eq!(pod.sysctl(TCP), "0");
}

fn check_sees_what_is_not_as_add_left_it() {
    let (pod, _client) = crate::net::V4.one_vrf();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open_to("BLUE", 8080));
    net1.should_refuse("CHECK", 101, "not recorded");
    net1.add();
    net1.must("CHECK");

    let edited = node.interface(&pod, "net1", &open_to("BLUE", 8081));
    edited.should_refuse("CHECK", 101, "has changed since ADD");

    pod.set_sysctl(TCP, "0");
    net1.should_refuse("CHECK", 101, "tcp_l3mdev_accept is 0");
    pod.set_sysctl(TCP, "1");

    pod.ip("link add GREEN type vrf table 77");
    net1.should_refuse("CHECK", 101, "GREEN is not gated");
    // A repeated ADD takes it in.
    net1.add();
    net1.must("CHECK");

    for pins in node.left() {
        let _ = std::fs::remove_file(pins.join("link"));
    }
    net1.should_refuse("CHECK", 101, "not in force");
    net1.add();
    net1.must("CHECK");
}

/// The gate's rules, without those of an address or of any.
fn erase_rules(node: &CniNode, address: Option<Ipv4Addr>) {
    let maps = format!("v{LAYOUT}/rules");
    let mut pins = node.left().into_iter().map(|pins| pins.join(&maps));
    let pin = pins.find(|pin| pin.exists()).expect("a gate");
    let rules = Map::HashMap(MapData::from_pin(pin).expect("the gate's map"));
    let mut rules: HashMap<_, [u8; size_of::<RuleKey>()], [u8; size_of::<RuleValue>()]> =
        rules.try_into().expect("its kind");
    let erased = |key: &[u8]| {
        let told = &key[offset_of!(RuleKey, address)..];
        address.is_none_or(|address| told == address.to_ipv6_mapped().octets())
    };
    let keys = rules.keys().map(|key| key.expect("a key"));
    let keys: Vec<_> = keys.filter(|key| erased(key)).collect();
    assert_ne!(keys.len(), 0);
    for key in keys {
        rules.remove(&key).expect("a key that was there");
    }
}

fn check_sees_a_service_that_is_not_open_any_more_on_an_address_that_add_opened() {
    let (pod, _client) = crate::net::V4.one_vrf();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open_to("BLUE", 8080));
    net1.add();
    net1.must("CHECK");

    let one = Ipv4Addr::new(192, 0, 2, 1);
    for erased in [Some(one), None] {
        erase_rules(&node, erased);
        net1.should_refuse("CHECK", 101, "is not open as it should be");
        net1.add();
        net1.must("CHECK");
    }
    // An address that was removed is not missed.
    erase_rules(&node, Some(one));
    pod.ip("address del 192.0.2.1/24 dev lan");
    net1.must("CHECK");
}

fn a_pod_that_needs_an_agent_does_not_start_without_one() {
    let (pod, _client) = crate::net::V4.one_vrf();
    let node = CniNode::new();
    let mut config = open(8080);
    config["required"] = true.into();
    let net1 = node.interface(&pod, "net1", &config);
    net1.should_refuse("ADD", 11, "no answer from an agent");
    assert!(node.left().is_empty(), "{:?}", node.left());
    assert_eq!(pod.sysctl(TCP), "0");
}

fn an_agent_hears_of_each_attachment_with_its_rules_in_force() {
    let (pod, client) = crate::net::V4.one_vrf();
    let _http = pod.listen("http").tcp("0.0.0.0:8080");
    let node = CniNode::new();
    let agent = agent(&node.agent_socket(), 2);
    let mut config = open(8080);
    config["required"] = true.into();
    let net1 = node.interface(&pod, "net1", &config);
    net1.add();
    client.connect("192.0.2.1:8080").should_reach("http");
    net1.del();
    let heard = agent.join().unwrap_or_default();
    let events: Vec<_> = heard.iter().map(|notice| &notice["event"]).collect();
    assert_eq!(events, ["attached", "detached"], "{heard:?}");
    for notice in &heard {
        let attachment = &notice["attachment"];
        assert_eq!(
            attachment["netns"]["inode"],
            pod.netns().inode(),
            "{notice}"
        );
        assert_eq!(attachment["services"][0]["port"], 8080, "{notice}");
    }
}

/// An agent that says yes to so many notices.
fn agent(socket: &Path, notices: usize) -> JoinHandle<Vec<Value>> {
    let directory = socket.parent().unwrap_or(socket);
    let listener = fs::create_dir_all(directory).and_then(|()| UnixListener::bind(socket));
    let listener = listener.unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    thread::spawn(move || {
        let hear = |stream: io::Result<UnixStream>| -> io::Result<Value> {
            let mut stream = stream?;
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            stream.write_all(b"{\"done\":true}\n")?;
            Ok(serde_json::from_str(&line)?)
        };
        let heard = listener.incoming().take(notices);
        heard.filter_map(|stream| hear(stream).ok()).collect()
    })
}

fn services_that_contradict_those_of_another_interface_change_nothing() {
    let (pod, client) = crate::net::V4.one_vrf();
    let _http = pod.listen("http").tcp("0.0.0.0:8080");
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open(8080));
    net1.add();
    let range = json!({"vrf": "BLUE", "services": [{"name": "all", "protocol": "TCP", "port": 1, "endPort": 65535}]});
    let net2 = node.interface(&pod, "net2", &range);
    net2.should_refuse("ADD", 7, "8080");
    client.connect("192.0.2.1:8080").should_reach("http");
    net1.must("CHECK");
    net2.should_refuse("CHECK", 101, "not recorded");
}
