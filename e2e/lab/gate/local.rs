//! Clients on the router itself, whose sockets are bound to the VRF or to a slave of it.

use std::net::{SocketAddr, SocketAddrV6};

use vrfgate_e2e::{Attempt, Host, ReplyFrom};

use crate::{
    leaks::leak,
    net::{Net, V6},
    suite::{soon, tests},
};

tests! {
    "gate";
    each family:
        a_local_client_inside_the_vrf_reaches_what_is_listed_and_nothing_else,
        a_local_client_reaches_sockets_that_are_bound_inside_the_vrf,
        a_client_without_a_device_comes_through_the_vrf_by_a_return_route,
        a_device_is_gated_when_it_is_enslaved_moved_and_released,
        slaves_stay_gated_when_no_vrfgate_runs;
    once:
        a_slaves_link_local_address_stays_open_to_local_clients_and_closed_to_others;
}

/// The ways to be inside BLUE.
const INSIDE: [&str; 2] = ["BLUE", "blue1"];

/// A leak that opens ports of the VRF's own address, TCP and UDP.
fn open(net: &Net, vrf: &str, port: u16) -> String {
    let services = ["TCP", "UDP"].map(|protocol| {
        format!(
            "{{name: {}, protocol: {protocol}, port: {port}, addresses: [\"{}\"]}}",
            protocol.to_lowercase(),
            net.clients
        )
    });
    leak(vrf, &format!("services: [{}]", services.join(", ")))
}

fn connect<'a>(host: &'a Host, device: &str, to: SocketAddr) -> Attempt<'a> {
    host.connect(to).bound_to(device)
}

fn a_local_client_inside_the_vrf_reaches_what_is_listed_and_nothing_else(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let answering = |name| {
        lab.listen(name)
            .replying_from(ReplyFrom::AskedAddressAndInterface)
    };
    let _listeners =
        ["[::]:22", "[::]:80"].map(|on| [answering("tcp").tcp(on), answering("udp").udp(on)]);
    let _one_family = answering("one family").tcp(net.any(81));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open(net, "BLUE", 22));
    for device in INSIDE {
        connect(&lab, device, net.router(22)).should_reach("tcp");
        lab.ask(net.router(22)).bound_to(device).should_reach("udp");
        connect(&lab, device, net.router(80)).should_be_refused();
        connect(&lab, device, net.router(81)).should_be_refused();
    }
    lab.ask(net.router(80)).bound_to("BLUE").should_be_refused();
    // What this host sends to itself is counted and listed as its VRF's, which is all that there is.
    let status = vrfgate.status();
    let vrfs = status["gate"]["vrfs"].as_array().map(Vec::as_slice);
    let [blue] = vrfs.unwrap_or_default() else {
        panic!("one VRF is gated: {status:#}");
    };
    assert_eq!(blue["hits"]["refused"], 5, "{status:#}");
    assert_eq!(blue["slaves"][0], lab.ifindex("blue1"), "{status:#}");
}

fn a_local_client_reaches_sockets_that_are_bound_inside_the_vrf(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open(net, "BLUE", 22));
    for (device, port) in [("BLUE", 179), ("blue1", 180)] {
        let _listeners = [
            lab.listen(device).bound_to(device).tcp(net.any(port)),
            lab.listen(device).bound_to(device).udp(net.router(port)),
        ];
        for client in INSIDE {
            connect(&lab, client, net.router(port)).should_reach(device);
            lab.ask(net.router(port))
                .bound_to(client)
                .should_reach(device);
        }
    }
}

fn a_client_without_a_device_comes_through_the_vrf_by_a_return_route(net: &Net) {
    let (lab, _client) = net.one_vrf();
    lab.ip(&format!("route add {} dev BLUE", net.clients));
    let _listeners = [22, 80].map(|port| lab.listen("open").tcp(net.any(port)));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open(net, "BLUE", 22));
    lab.connect(net.router(22)).should_reach("open");
    lab.connect(net.router(80)).should_be_refused();
}

fn a_device_is_gated_when_it_is_enslaved_moved_and_released(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _red = lab.vrf("RED");
    let _listeners = [22, 80].map(|port| lab.listen("open").tcp(net.any(port)));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&(open(net, "BLUE", 22) + &open(net, "RED", 80)));
    lab.ip("link add dev1 type dummy\nlink set dev1 up");
    let own = net.parse(if net.main.is_ipv4() {
        "10.0.0.99"
    } else {
        "2001:db8:a::99"
    });
    let (length, flags) = if net.main.is_ipv4() {
        (32, "")
    } else {
        (128, "nodad")
    };
    let enslave = |how: &str| {
        lab.ip(&format!("link set dev1 {how}"));
        // The kernel takes global IPv6 addresses away.
        let _ = lab.try_ip(&format!("address del {own}/{length} dev dev1"));
        lab.ip(&format!("address add {own}/{length} dev dev1 {flags}"));
    };
    for (vrf, open, closed) in [("BLUE", 22, 80), ("RED", 80, 22), ("BLUE", 22, 80)] {
        enslave(&format!("master {vrf}"));
        for device in [vrf, "dev1"] {
            let to = |port| connect(&lab, device, (own, port).into());
            to(open).should_soon_reach("open");
            to(closed).should_soon_be_refused();
        }
    }
    enslave("nomaster");
    for port in [22, 80] {
        lab.connect((own, port)).should_soon_reach("open");
    }
    let dev1 = lab.ifindex("dev1");
    soon("a device that is released is no slave", || {
        let status = vrfgate.status();
        let vrfs = status["gate"]["vrfs"].as_array();
        let mut slaves = vrfs.into_iter().flatten().map(|vrf| &vrf["slaves"]);
        slaves.all(|slaves| {
            slaves
                .as_array()
                .is_some_and(|slaves| !slaves.contains(&dev1.into()))
        })
    });
}

fn slaves_stay_gated_when_no_vrfgate_runs(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _listeners = [22, 80].map(|port| lab.listen("open").tcp(net.any(port)));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open(net, "BLUE", 22));
    vrfgate.kill();
    for device in INSIDE {
        connect(&lab, device, net.router(22)).should_reach("open");
        connect(&lab, device, net.router(80)).should_be_refused();
    }
    vrfgate.clear();
    for device in INSIDE {
        connect(&lab, device, net.router(22)).should_be_refused();
    }
}

/// As on a stock kernel: see `kernel::a_slaves_link_local_address_is_reached_past_the_vrf_by_local_clients`.
fn a_slaves_link_local_address_stays_open_to_local_clients_and_closed_to_others() {
    let (lab, client) = V6.one_vrf();
    lab.ip("address add fe80::b1/64 dev blue1 nodad");
    client.ip("address add fe80::c/64 dev eth0 nodad");
    let _web = lab.listen("web").tcp(V6.any(80));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open(&V6, "BLUE", 22));
    let own = lab.connect(link_local(&lab, "blue1"));
    own.should_reach("web");
    for device in INSIDE {
        own.clone().bound_to(device).should_reach("web");
    }
    client
        .connect(link_local(&client, "eth0"))
        .should_be_refused();
}

fn link_local(host: &Host, device: &str) -> SocketAddr {
    let address = [0xfe80, 0, 0, 0, 0, 0, 0, 0xb1].into();
    SocketAddrV6::new(address, 80, 0, host.ifindex(device)).into()
}
