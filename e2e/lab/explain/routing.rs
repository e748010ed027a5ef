//! Packets that don't get as far as the gate.

use super::{tcp, udp};
use crate::{
    leaks::open_tcp,
    net::{Net, V4},
    suite::tests,
};

tests! {
    "explain";
    each family:
        the_route_that_does_not_deliver_is_named,
        a_packet_for_another_host_is_told_from_one_without_a_route,
        policy_rules_that_end_a_look_up_are_named,
        a_vrf_that_cannot_receive_is_told;
    once:
        the_reverse_path_filter_and_blackholes_are_named;
}

fn the_route_that_does_not_deliver_is_named(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    let packet = tcp(net, &vrfgate, &client, 22);
    packet.is_served_by("ssh", "reached with or without a leak route");

    net.isolate(&lab);
    packet.fails("NotDelivered", "dev lan table 10");

    lab.ip(&format!("route del {} table 10", net.main_prefix));
    packet.fails("Unreachable", "unreachable default");

    // As FRR leaks it, then as vrfgate would.
    lab.ip(&format!("route add {} dev lo table 10", net.main));
    packet.fails("NotDelivered", "a unicast route to lo");

    lab.ip(&format!(
        "route del {0} table 10\nroute add local {0} dev lan table 10",
        net.main
    ));
    packet.is_served_by("ssh", "the VRF's table comes before local addresses");
}

fn a_packet_for_another_host_is_told_from_one_without_a_route(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let vrfgate = lab.vrfgate();
    let elsewhere = if net.main.is_ipv4() {
        "203.0.113.9"
    } else {
        "2001:db8:99::9"
    };
    let packet = tcp(net, &vrfgate, &client, 22).to((net.parse(elsewhere), 22).into());

    packet.fails("NoRoute", "is no address of this host");

    lab.ip(&format!("route add {elsewhere} dev lan"));
    packet.fails("Forwarded", "dev lan table main");

    // As FRR leaks another VRF's prefix.
    lab.ip(&format!("route add {elsewhere} dev RED table 10"));
    packet.fails("Forwarded", "leads into VRF RED");
}

fn policy_rules_that_end_a_look_up_are_named(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    net.put_local_table_last(&lab);
    let _ = lab.ip_shows(&format!(
        "{} rule add pref 900 to {} unreachable",
        net.family(),
        net.main
    ));

    let words = format!("900: from all to {} unreachable", net.main_alone());
    tcp(net, &vrfgate, &client, 22).fails("Unreachable", &words);
}

fn a_vrf_that_cannot_receive_is_told(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _table_only = lab.vrf("RED");
    let vrfgate = lab.vrfgate();
    let packet = |vrf| tcp(net, &vrfgate, &client, 22).through(vrf);

    packet("GREEN").explained("NoSuchVrf", "the VRFs here are BLUE, RED");
    packet("lan").explained("NotAVrf", "the VRFs here are BLUE, RED");
    packet("blue1").explained("NotAVrf", "ask with --vrf BLUE");
    packet("RED").explained("NoInterface", "ip link set DEVICE master RED");

    lab.ip("link set blue1 down");
    packet("BLUE").fails("InterfaceDown", "ip link set blue1 up");
}

fn the_reverse_path_filter_and_blackholes_are_named() {
    let (lab, client) = V4.one_vrf();
    let _dns = lab.listen("dns").udp(V4.any(53));
    let vrfgate = lab.vrfgate();
    client.ip("address add 10.9.9.9/32 dev lo");
    lab.set_sysctl("net.ipv4.conf.BLUE.rp_filter", "1");
    udp(&V4, &vrfgate, &client, 53)
        .from(V4.parse("10.9.9.9"))
        .fails("ReversePath", "net.ipv4.conf.BLUE.rp_filter");
    lab.set_sysctl("net.ipv4.conf.BLUE.rp_filter", "0");

    V4.put_local_table_last(&lab);
    lab.ip("route add blackhole 192.0.2.1 table 10");
    udp(&V4, &vrfgate, &client, 53).fails("Unreachable", "blackhole 192.0.2.1");
}
