//! What a packet finds behind an open gate.

use std::net::IpAddr;

use super::tcp;
use crate::{leaks::open_tcp, net::Net, suite::tests};

tests! {
    "explain";
    each family:
        a_listener_that_does_not_hear_the_packet_is_told_from_none_at_all,
        of_two_listeners_on_one_port_the_one_that_is_reached_is_named,
        a_listener_on_the_address_is_told_to_win_over_a_vrf_bound_wildcard,
        a_listener_bound_inside_the_vrf_needs_no_rule;
}

fn a_listener_that_does_not_hear_the_packet_is_told_from_none_at_all(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let loopback: IpAddr = match net.main {
        IpAddr::V4(_) => [127, 0, 0, 1].into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let second = net.add_main_address(&lab, 7);
    let _deaf = [
        lab.listen("loopback").tcp((loopback, 24)),
        lab.listen("elsewhere").tcp((second, 25)),
        lab.listen("red").bound_to("RED").tcp(net.any(26)),
        lab.listen("lan").bound_to("lan").tcp(net.any(27)),
    ];
    let _udp = lab.listen("udp").udp(net.any(28));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[23, 24, 25, 26, 27, 28]));

    for (port, verdict, words) in [
        (23, "NoListener", "nothing has TCP port 23"),
        (24, "ListenerOnLoopback", "it hears this host alone"),
        (25, "ListenerOnOtherAddress", "it hears another address"),
        (26, "ListenerOnOtherDevice", "it hears VRF RED alone"),
        (27, "ListenerOnOtherDevice", "bound to lan"),
        (28, "NoListener", "something has UDP port 28"),
    ] {
        tcp(net, &vrfgate, &client, port).fails(verdict, words);
    }
}

fn of_two_listeners_on_one_port_the_one_that_is_reached_is_named(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _unbound = lab.listen("unbound").tcp(net.any(22));
    let _bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(22));
    let vrfgate = lab.vrfgate();
    let _ = vrfgate.apply_although_ports_are_shared(&open_tcp("BLUE", net, &[22]));

    let packet = tcp(net, &vrfgate, &client, 22);
    packet.is_served_by("bound", "a port clash");
    let explanation = packet.explained("Served", "has the port too");
    let socket = explanation["steps"]
        .as_array()
        .and_then(|steps| steps.iter().find(|step| step["stage"] == "Socket"))
        .and_then(|step| step["finding"].as_str())
        .unwrap_or_default()
        .to_owned();
    let winner = socket.split(';').next().unwrap_or_default();
    assert!(winner.contains("bound to BLUE"), "{socket}");
    // Lab servers are threads of the lab.
    assert!(winner.contains("vrfgate-lab"), "{socket}");
}

fn a_listener_on_the_address_is_told_to_win_over_a_vrf_bound_wildcard(net: &Net) {
    let (lab, client) = net.one_vrf();
    let vrfgate = lab.vrfgate();
    // First, because no gate comes while a port is shared (`shared::`).
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    let _bound = lab
        .listen("bound")
        .bound_to("BLUE")
        .sharing_its_port()
        .tcp(net.any(22));
    let _unbound = lab.listen("unbound").sharing_its_port().tcp(net.main(22));

    let finding = format!("on {}; ", net.main(22));
    tcp(net, &vrfgate, &client, 22).is_served_by("unbound", &finding);
}

fn a_listener_bound_inside_the_vrf_needs_no_rule(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _inside = [
        lab.listen("vrf").bound_to("BLUE").tcp(net.any(179)),
        lab.listen("slave").bound_to("blue1").tcp(net.any(180)),
    ];
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    // They share a port, and no gate comes while one is shared (`shared::`).
    let _sharing = [
        lab.listen("passed over")
            .bound_to("BLUE")
            .sharing_its_port()
            .tcp(net.any(181)),
        lab.listen("unbound").sharing_its_port().tcp(net.main(181)),
    ];

    tcp(net, &vrfgate, &client, 179).is_served_by("vrf", "step 3");
    tcp(net, &vrfgate, &client, 180).is_served_by("slave", "step 3");
    // The kernel would hand it to the unbound one, which has the address.
    tcp(net, &vrfgate, &client, 181).fails("NotListed", "step 4");
}
