//! vrfgate makes the routes that leaks ask for, touches no others, and takes its own away.

use vrfgate_e2e::{Host, Lab};

use crate::{
    leaks::leak,
    net::{Net, routing},
    suite::{soon, tests},
};

tests! {
    "routes";
    each family:
        a_leak_makes_its_own_routes_under_either_order_of_the_policy_rules,
        clear_leaves_rules_and_routes_as_they_were,
        a_route_that_somebody_made_is_left_alone_and_told,
        a_route_that_somebody_flushed_comes_back,
        an_address_that_comes_and_goes_takes_its_route_with_it,
        a_prefix_that_is_local_as_a_whole_is_routed_and_open_as_a_whole,
        return_routes_bring_udp_answers_back;
}

/// A VRF with a client, and no leak route.
fn without_leak_route(net: &Net) -> (Lab, Host) {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    (lab, client)
}

fn ssh(net: &Net) -> String {
    leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{}\", device: lan}}], \
             services: [{{name: ssh, protocol: TCP, port: 22}}]",
            net.main_prefix
        ),
    )
}

fn table_10(lab: &Lab, net: &Net) -> String {
    lab.ip_shows(&format!("{} route show table 10 proto 118", net.family()))
}

fn a_leak_makes_its_own_routes_under_either_order_of_the_policy_rules(net: &Net) {
    for isolated in [false, true] {
        let (lab, client) = without_leak_route(net);
        if isolated {
            net.isolate(&lab);
        }
        let _ssh = lab.listen("ssh").tcp(net.any(22));
        let _web = lab.listen("web").tcp(net.any(80));
        if isolated {
            client.connect(net.main(22)).should_be_unreachable();
        }

        let vrfgate = lab.vrfgate();
        vrfgate.apply(&ssh(net));

        client.connect(net.main(22)).should_reach("ssh");
        client.connect(net.main(80)).should_be_refused();
    }
}

fn clear_leaves_rules_and_routes_as_they_were(net: &Net) {
    let (lab, _client) = without_leak_route(net);
    let before = routing(&lab);
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&ssh(net));
    assert_ne!(routing(&lab), before, "no route was made");

    vrfgate.clear();

    assert_eq!(routing(&lab), before);
}

fn a_route_that_somebody_made_is_left_alone_and_told(net: &Net) {
    let (lab, client) = without_leak_route(net);
    // In the place of ours, which has metric 1 where the family's default is another.
    let metric = if net.main.is_ipv4() { "" } else { " metric 1" };
    let main = net.main;
    lab.ip(&format!(
        "route add local {main} dev lan table 10 proto static{metric}"
    ));
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&ssh(net));

    client.connect(net.main(22)).should_reach("ssh");
    let status = vrfgate.status_text();
    assert!(status.contains("somebody else's"), "{status}");
    vrfgate.clear();
    let left = lab.ip_shows(&format!(
        "{} route show table 10 proto static",
        net.family()
    ));
    assert!(
        left.contains(&net.main.to_string()),
        "theirs is gone: {left}"
    );
}

fn a_route_that_somebody_flushed_comes_back(net: &Net) {
    let (lab, client) = without_leak_route(net);
    net.isolate(&lab);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh(net));
    client.connect(net.main(22)).should_soon_reach("ssh");

    let _ = lab.ip_shows(&format!("{} route flush table 10 proto 118", net.family()));

    client.connect(net.main(22)).should_soon_reach("ssh");
}

fn an_address_that_comes_and_goes_takes_its_route_with_it(net: &Net) {
    let (lab, client) = without_leak_route(net);
    net.isolate(&lab);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh(net));

    let address = net.add_main_address(&lab, 7);
    client.connect((address, 22)).should_soon_reach("ssh");
    lab.ip(&format!("address flush dev lan to {address}"));

    soon(format!("{address} leaves table 10"), || {
        !table_10(&lab, net).contains(&address.to_string())
    });
}

fn return_routes_bring_udp_answers_back(net: &Net) {
    let (lab, client) = without_leak_route(net);
    // Bound to the address: the kernel takes no IPv6 route with a source for wildcard servers.
    let _dns = lab.listen("dns").udp(net.main(53));
    let spec = |returns: &str| {
        leak(
            "BLUE",
            &format!(
                "routes: [{{prefix: \"{prefix}\"}}], returnRoutes: [{returns}], \
                 services: [{{name: dns, protocol: UDP, port: 53}}]",
                prefix = net.main_prefix
            ),
        )
    };
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&spec(""));
    client.ask(net.main(53)).should_time_out();

    vrfgate.apply(&spec(&format!(
        "{{prefix: \"{}\", source: \"{}\"}}",
        net.clients, net.main
    )));

    client.ask(net.main(53)).should_reach("dns");
}

fn a_prefix_that_is_local_as_a_whole_is_routed_and_open_as_a_whole(net: &Net) {
    let (any_ip, inside, beside) = if net.main.is_ipv4() {
        ("203.0.113.0/24", "203.0.113.200:22", "203.0.113.200:80")
    } else {
        (
            "2001:db8:113::/64",
            "[2001:db8:113::c8]:22",
            "[2001:db8:113::c8]:80",
        )
    };
    let (lab, client) = without_leak_route(net);
    net.isolate(&lab);
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{any_ip}\"}}], \
             services: [{{name: ssh, protocol: TCP, port: 22}}]"
        ),
    ));
    client.connect(inside).should_be_unreachable();

    lab.ip(&format!("route add local {any_ip} dev lo"));
    client.connect(inside).should_soon_reach("ssh");
    client.connect(beside).should_be_refused();
    assert!(vrfgate.status_text().contains(any_ip));

    lab.ip(&format!("route del local {any_ip} dev lo"));
    client.connect(inside).should_soon_be_unreachable();
}
