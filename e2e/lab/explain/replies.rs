//! Whether the answer arrives.

use vrfgate_e2e::{Host, Lab, Vrfgate};

use super::{tcp, udp};
use crate::{
    leaks::{leak, open_tcp, service},
    net::{Net, V4, V6},
    suite::tests,
};

tests! {
    "explain";
    each family:
        a_udp_server_on_the_address_needs_a_return_route,
        a_steered_udp_answer_needs_no_return_route_but_any_route,
        a_tcp_answer_needs_a_way_to_the_client_in_the_vrfs_table;
    once:
        a_return_route_without_the_right_source_is_told_from_none,
        to_ipv6_a_wildcard_udp_server_is_told_to_answer_from_the_asked_address;
}

fn open_dns(net: &Net) -> (Lab, Host, Vrfgate) {
    let (lab, client) = net.one_vrf();
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&leak(
        "BLUE",
        &format!("services: [{}]", service(net, "UDP", 53)),
    ));
    (lab, client, vrfgate)
}

fn a_udp_server_on_the_address_needs_a_return_route(net: &Net) {
    let (lab, client, vrfgate) = open_dns(net);
    let _dns = lab.listen("dns").udp(net.main(53));
    let packet = udp(net, &vrfgate, &client, 53);

    packet.fails("ReplyLost", "returnRoutes");

    lab.ip(&format!("route add {} dev lan", net.clients));
    packet.fails("ReplyLost", "leads away from VRF BLUE");

    lab.ip(&format!("route replace {} dev BLUE", net.clients));
    packet.is_served_by("dns", "dev BLUE");
}

fn a_return_route_without_the_right_source_is_told_from_none() {
    let (lab, client, vrfgate) = open_dns(&V4);
    let _dns = lab.listen("dns").udp(V4.any(53));
    let packet = udp(&V4, &vrfgate, &client, 53);

    packet.fails("ReplyLost", "src 192.0.2.1");

    lab.ip("route add 10.0.0.0/24 dev BLUE");
    packet.fails("ReplyFromWrongAddress", "instead of the asked address");

    lab.ip("address add 192.0.2.7/24 dev lan\nroute replace 10.0.0.0/24 dev BLUE src 192.0.2.7");
    packet.fails("ReplyFromWrongAddress", "from 192.0.2.7");

    lab.ip("route replace 10.0.0.0/24 dev BLUE src 192.0.2.1");
    packet.is_served_by("dns", "nothing to do");
}

fn a_steered_udp_answer_needs_no_return_route_but_any_route(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _dns = lab.listen("dns").udp(net.main(53));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&leak(
        "BLUE",
        &format!("replies: Steer, services: [{}]", service(net, "UDP", 53)),
    ));
    let packet = udp(net, &vrfgate, &client, 53);

    packet.fails("ReplyLost", "the server's sendto fails");

    let gateway = if net.main.is_ipv4() {
        "192.0.2.254"
    } else {
        "2001:db8:1::fe"
    };
    lab.ip(&format!("route add default via {gateway} dev lan"));
    packet.is_served_by("dns", "steered back into VRF BLUE by mark");

    let rule = if net.client.is_ipv4() { "-4" } else { "-6" };
    vrfgate.kill();
    let _ = lab.ip_shows(&format!("{rule} rule del pref 900"));
    udp(net, &vrfgate, &client, 53).fails("ReplyLost", "no policy rule looks up mark");
}

fn to_ipv6_a_wildcard_udp_server_is_told_to_answer_from_the_asked_address() {
    let (lab, client, vrfgate) = open_dns(&V6);
    let _dns = lab.listen("dns").udp(V6.any(53));
    lab.ip(&format!("route add {} dev BLUE", V6.clients));

    udp(&V6, &vrfgate, &client, 53).fails("ReplyFromWrongAddress", "IPV6_PKTINFO");
}

fn a_tcp_answer_needs_a_way_to_the_client_in_the_vrfs_table(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    let far = if net.client.is_ipv4() {
        "10.9.9.9"
    } else {
        "2001:db8:9::9"
    };
    client.ip(&format!("address add {far}/{} dev lo", net.bits()));
    let packet = tcp(net, &vrfgate, &client, 22).from(net.parse(far));

    packet.fails("ReplyLost", "give VRF BLUE a route");
    // Nor does a refusal find its way.
    tcp(net, &vrfgate, &client, 80)
        .from(net.parse(far))
        .fails("NotListed", "clientSees\":\"Silence");

    lab.ip(&format!(
        "route add {far} via {} dev blue1 table 10",
        net.client
    ));
    packet.is_served_by("ssh", "nothing to do");
}
