//! What a pod gets after ADD: addresses, and VRFs of other networks.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};
use vrfgate_e2e::{CniNode, Host, Interface, Lab, Listener};

use super::{agent::spec, open, open_to};
use crate::suite::{soon, tests};

tests! {
    "cni::late";
    once:
        addresses_that_come_after_add_are_opened_by_an_agent_and_check_succeeds_all_along,
        addresses_that_come_after_add_stay_closed_without_an_agent_until_the_next_add_and_check_succeeds,
        check_of_a_network_succeeds_whose_pod_got_its_vrf_from_another_one_later,
        check_of_a_network_that_names_a_vrf_which_came_later_says_that_its_services_are_not_open;
}

/// What the router, which the client plays, announces as the network's prefix.
const ANNOUNCED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 0);
/// Of a service that is only for addresses of that prefix, which the pod doesn't have at first.
const OF_THE_PREFIX: u16 = 9090;

/// A pod with servers on 22, 8080 and 9090, and a client in its VRF that is a router as well.
fn pod() -> (Lab, Host, Vec<Listener>) {
    let pod = Lab::new();
    let client = pod
        .vrf("BLUE")
        .slave("blue1", "10.0.0.1/24 2001:db8:a::1/64")
        .client("10.0.0.2/24 2001:db8:a::2/64 2001:db8:5::2/64");
    // A lab's pod forwards, and would not take a router's word otherwise.
    pod.set_sysctl("net.ipv6.conf.blue1.accept_ra", "2");
    let servers = [22, 8080, OF_THE_PREFIX];
    let servers = servers.map(|port| pod.listen("pod").tcp(("::", port)));
    (pod, client, servers.into())
}

fn services() -> Value {
    json!({"services": [
        {"name": "http", "protocol": "TCP", "port": 8080},
        {"name": "metrics", "protocol": "TCP", "port": OF_THE_PREFIX, "addresses": [format!("{ANNOUNCED}/64")]},
    ]})
}

/// Sends a router advertisement (RFC 4861, 4.2) with the prefix, to everybody.
fn announce(router: &Host) -> io::Result<()> {
    const EVERYBODY: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const SECONDS: [u8; 4] = 3600_u32.to_be_bytes();
    let eth0 = router.ifindex("eth0");
    // The type; then a checksum of the kernel's making, and nothing said of times and of being a default router.
    let mut words = vec![134, 0];
    words.resize(16, 0);
    // Prefix information: 32 bytes, 64 bits are on the link and for addresses, valid and preferred for so long.
    words.extend([3, 4, 64, 0xc0]);
    words.extend([SECONDS, SECONDS, [0; 4]].concat());
    words.extend(ANNOUNCED.octets());
    router.netns().enter(|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        // Advertisements from beyond the link are not accepted.
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(eth0)?;
        let everybody = SocketAddrV6::new(EVERYBODY, 0, 0, eth0);
        socket.send_to(&words, &everybody.into()).map(drop)
    })
}

/// The address that the pod makes itself of a router's word.
#[track_caller]
fn address_by_a_router(pod: &Host, router: &Host) -> IpAddr {
    let mut made = None;
    soon("the pod has an address of the announced prefix", || {
        // Its own address on the link, by which it is a router, may take a while, too.
        let _ = announce(router);
        let shown = pod.ip_shows("-6 -json address show dev blue1");
        let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
        let addresses = shown[0]["addr_info"].as_array().into_iter().flatten();
        // Not before duplicate address detection has ended.
        let addresses = addresses.filter(|address| address["tentative"] != true);
        let mut addresses = addresses.filter_map(|address| address["local"].as_str()?.parse().ok());
        made = addresses
            .find(|address: &Ipv6Addr| address.segments()[..4] == ANNOUNCED.segments()[..4]);
        made.is_some()
    });
    made.unwrap_or(Ipv6Addr::UNSPECIFIED).into()
}

/// The pod gets an address in its VRF by hand, and one by a router: each with ports that are open there once it is.
#[track_caller]
fn more_addresses(pod: &Host, client: &Host, net1: &Interface<'_>) -> [SocketAddr; 3] {
    pod.ip("address add 10.0.0.9/24 dev blue1");
    net1.must("CHECK");
    let by_a_router = address_by_a_router(pod, client);
    net1.must("CHECK");
    [
        ([10, 0, 0, 9], 8080).into(),
        (by_a_router, 8080).into(),
        (by_a_router, OF_THE_PREFIX).into(),
    ]
}

fn addresses_that_come_after_add_are_opened_by_an_agent_and_check_succeeds_all_along() {
    let machine = Lab::new();
    let (pod, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &services());
    net1.add();
    net1.must("CHECK");
    let agent = node.agent(&machine, &spec(&[], &[]));
    agent.should_say("looking after the gate of");
    net1.must("CHECK");

    let late = more_addresses(&pod, &client, &net1);
    for address in late {
        client.connect(address).should_soon_reach("pod");
        let closed = SocketAddr::new(address.ip(), 22);
        client.connect(closed).should_be_refused();
    }
    // That service is for the one prefix still.
    client
        .connect(("10.0.0.9", OF_THE_PREFIX))
        .should_be_refused();
    net1.must("CHECK");

    pod.ip("address del 10.0.0.9/24 dev blue1");
    net1.must("CHECK");
}

fn addresses_that_come_after_add_stay_closed_without_an_agent_until_the_next_add_and_check_succeeds()
 {
    let (pod, client, _servers) = pod();
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &services());
    net1.add();
    net1.must("CHECK");

    let late = more_addresses(&pod, &client, &net1);
    for address in late {
        client.connect(address).should_be_refused();
    }
    client.connect("10.0.0.1:8080").should_reach("pod");

    net1.add();
    for address in late {
        client.connect(address).should_reach("pod");
    }
    net1.must("CHECK");
}

/// A pod that had no VRF when its first network was attached, with that interface; then came one with a VRF.
fn primary_network_first<'node>(
    node: &'node CniNode,
    primary: &Value,
) -> (Lab, Host, Interface<'node>, Interface<'node>) {
    let pod = Lab::new();
    let eth0 = node.interface(&pod, "eth0", primary).of_network("primary");
    eth0.add();
    eth0.must("CHECK");
    assert!(node.left().is_empty(), "{:?}", node.left());

    let client = pod
        .vrf("BLUE")
        .slave("blue1", "10.0.0.1/24")
        .client("10.0.0.2/24");
    let net1 = node.interface(&pod, "net1", &open_to("BLUE", 8080));
    net1.add();
    (pod, client, eth0, net1)
}

fn check_of_a_network_succeeds_whose_pod_got_its_vrf_from_another_one_later() {
    let machine = Lab::new();
    let node = CniNode::new();
    let (pod, client, eth0, net1) = primary_network_first(&node, &open(22));
    let _servers = [22, 8080].map(|port| pod.listen("pod").tcp(("0.0.0.0", port)));
    let both_are_fine = || {
        eth0.must("CHECK");
        net1.must("CHECK");
        client.connect("10.0.0.1:8080").should_reach("pod");
        client.connect("10.0.0.1:22").should_be_refused();
    };
    both_are_fine();
    let agent = node.agent(&machine, &spec(&[], &[]));
    agent.should_say("looking after the gate of");
    both_are_fine();

    // What was never attached leaves without a trace on the other.
    eth0.del();
    both_are_fine();
    net1.del();
    client.connect("10.0.0.1:8080").should_be_refused();
}

fn check_of_a_network_that_names_a_vrf_which_came_later_says_that_its_services_are_not_open() {
    let node = CniNode::new();
    let (pod, client, eth0, net1) = primary_network_first(&node, &open_to("BLUE", 22));
    let _ssh = pod.listen("pod").tcp("0.0.0.0:22");
    client.connect("10.0.0.1:22").should_be_refused();
    eth0.should_refuse("CHECK", 101, "not recorded");
    net1.must("CHECK");

    // As when the chain comes once more.
    eth0.add();
    eth0.must("CHECK");
    client.connect("10.0.0.1:22").should_reach("pod");
    for record in node.records() {
        std::fs::remove_file(&record)
            .unwrap_or_else(|error| panic!("{}: {error}", record.display()));
    }
    eth0.should_refuse("CHECK", 101, "not recorded");
}
