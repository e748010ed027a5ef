//! Which clients get an answer.

use std::fs;

use vrfgate_e2e::{Lab, ReplyFrom};

use super::{DNS, both, steering, two_vrfs};
use crate::{
    leaks::{leak, service},
    net::Net,
    suite::tests,
};

tests! {
    "steer";
    each family:
        clients_of_two_vrfs_with_the_same_address_are_each_answered,
        clients_with_the_same_address_and_port_are_each_answered,
        a_strict_reverse_path_filter_is_no_hindrance,
        ranges_sources_and_prefixes_that_are_local_as_a_whole_are_steered,
        a_server_bound_to_the_vrf_still_answers,
        only_listed_udp_services_are_steered;
}

fn clients_of_two_vrfs_with_the_same_address_are_each_answered(net: &Net) {
    let (lab, blue, red) = two_vrfs(net);
    let _echo = lab
        .listen("echo")
        .replying_from(ReplyFrom::AskedAddress)
        .udp(net.any(53));
    let _bound = lab.listen("bound").udp(net.main(54));
    let vrfgate = lab.vrfgate();
    let services = format!("{DNS}, {{name: bound, protocol: UDP, port: 54}}");

    vrfgate.apply(&(steering("BLUE", net, &services) + &steering("RED", net, &services)));

    for client in [&blue, &red] {
        client.ask(net.main(53)).should_reach("echo");
        client.ask(net.main(54)).should_reach("bound");
    }
}

/// Clients of NTP and others send from a port of their own choice, so two of them may be alike in everything.
fn clients_with_the_same_address_and_port_are_each_answered(net: &Net) {
    let (lab, blue, red) = two_vrfs(net);
    let _ntp = lab.listen("ntp").udp(net.main(53));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&both(net));

    for _ in 0..2 {
        for client in [&blue, &red] {
            client.ask(net.main(53)).from_port(123).should_reach("ntp");
        }
    }
}

fn a_strict_reverse_path_filter_is_no_hindrance(net: &Net) {
    let (lab, blue, red) = two_vrfs(net);
    for device in ["all", "lan", "BLUE", "RED", "blue1", "red1"] {
        lab.set_sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "1");
    }
    let _dns = lab.listen("dns").udp(net.main(53));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&both(net));

    for client in [&blue, &red] {
        client.ask(net.main(53)).should_reach("dns");
    }
}

fn ranges_sources_and_prefixes_that_are_local_as_a_whole_are_steered(net: &Net) {
    let (lab, blue, red) = two_vrfs(net);
    let (prefix, asked) = if net.main.is_ipv4() {
        ("203.0.113.0/24", "203.0.113.77:8007")
    } else {
        ("2001:db8:77::/64", "[2001:db8:77::7]:8007")
    };
    let _ = lab.ip_shows(&format!("{} route add local {prefix} dev lo", net.family()));
    // Without it, IPv6 takes no source address for an answer that no interface has.
    lab.set_sysctl("net.ipv6.ip_nonlocal_bind", "1");
    let _server = lab
        .listen("server")
        .replying_from(ReplyFrom::AskedAddress)
        .udp(net.any(8007));
    let vrfgate = lab.vrfgate();
    let spec = |vrf, sources: &str| {
        leak(
            vrf,
            &format!(
                "replies: Steer, routes: [{{prefix: \"{prefix}\"}}], services: [{{name: many, \
                 protocol: UDP, port: 8000, endPort: 8010, sources: [{sources}]}}]"
            ),
        )
    };
    vrfgate.apply(&(spec("BLUE", &format!("\"{}\"", net.clients)) + &spec("RED", "")));

    for client in [&blue, &red] {
        client.ask(asked).should_reach("server");
    }
}

/// Its answers know their way without being steered, and steering doesn't lead them astray.
fn a_server_bound_to_the_vrf_still_answers(net: &Net) {
    let (lab, blue, _red) = two_vrfs(net);
    let _vrf = lab
        .listen("bound to the VRF")
        .bound_to("BLUE")
        .udp(net.router(53));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "replies: Steer, routes: [{{prefix: \"{}\"}}], services: [{{name: dns, protocol: UDP, port: 53, \
             addresses: [\"{}/{}\", \"{}\"]}}]",
            net.main_prefix,
            net.router,
            if net.router.is_ipv4() { 32 } else { 128 },
            net.main_prefix,
        ),
    ));

    blue.ask(net.router(53)).should_reach("bound to the VRF");
}

fn only_listed_udp_services_are_steered(net: &Net) {
    let (lab, blue, _red) = two_vrfs(net);
    let _steered = lab.listen("steered").udp(net.main(53));
    let _routed = lab.listen("routed").udp(net.main(54));
    let _tcp = lab.listen("tcp").tcp(net.main(53));
    let vrfgate = lab.vrfgate();
    // Open as well, by a leak that steers nothing.
    let other = leak(
        "BLUE",
        &format!(
            "services: [{}, {}]",
            service(net, "UDP", 54),
            service(net, "TCP", 53)
        ),
    )
    .replace("name: blue}", "name: other}");

    vrfgate.apply(&(both(net) + &other));

    blue.ask(net.main(53)).should_reach("steered");
    blue.connect(net.main(53)).should_reach("tcp");
    blue.ask(net.main(54)).should_time_out();
    let connections = connections(&lab);
    for (protocol, port, steered) in [("udp", 53, true), ("udp", 54, false), ("tcp", 53, false)] {
        let lines: Vec<&str> = connections
            .lines()
            .filter(|line| line.contains(protocol) && line.contains(&format!("dport={port} ")))
            .collect();
        assert!(!lines.is_empty(), "no {protocol} {port} in\n{connections}");
        for line in lines {
            assert_eq!(line.contains("zone-orig="), steered, "{line}");
            assert!(line.contains("mark=0"), "{line}");
        }
    }
}

/// The kernel's table of connections.
fn connections(lab: &Lab) -> String {
    let table = lab
        .netns()
        .enter(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
    table.unwrap_or_else(|error| panic!("reading the connections: {error}"))
}
