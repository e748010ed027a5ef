//! The policy rules of a host, in either order, and what of the host is left after vrfgate.

use vrfgate_e2e::{Host, Lab};

use crate::{
    leaks::leak,
    net::{Net, routing},
    suite::tests,
};

tests! {
    "host";
    each family:
        under_every_order_of_rules_the_routes_of_leaks_deliver_and_clear_takes_back_all_of_it,
        a_local_table_that_moves_leaves_services_open,
        connections_from_the_main_table_into_a_vrf_work_while_the_gate_is_on;
}

const SYSCTLS: [&str; 2] = ["net.ipv4.tcp_l3mdev_accept", "net.ipv4.udp_l3mdev_accept"];

fn everything(lab: &Lab) -> String {
    let sysctls = SYSCTLS.map(|name| format!("{name} = {}", lab.sysctl(name)));
    format!("{}\n{}", routing(lab), sysctls.join("\n"))
}

fn without_leak_route(net: &Net) -> (Lab, Host) {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    (lab, client)
}

fn ssh_and_dns(net: &Net) -> String {
    leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{}\", device: lan}}], \
             returnRoutes: [{{prefix: \"{}\", source: \"{}\"}}], \
             services: [{{name: ssh, protocol: TCP, port: 22}}, {{name: dns, protocol: UDP, port: 53}}]",
            net.main_prefix, net.clients, net.main
        ),
    )
}

fn under_every_order_of_rules_the_routes_of_leaks_deliver_and_clear_takes_back_all_of_it(
    net: &Net,
) {
    for (local_table_last, unreachable) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let (lab, client) = without_leak_route(net);
        if local_table_last {
            net.put_local_table_last(&lab);
        }
        if unreachable {
            lab.ip("route add unreachable default table 10\nroute add unreachable ::/0 table 10");
        }
        let _listeners = [
            lab.listen("ssh").tcp(net.any(22)),
            lab.listen("web").tcp(net.any(80)),
            // Bound to the address: the kernel takes no IPv6 route with a source for wildcard servers.
            lab.listen("dns").udp(net.main(53)),
        ];
        let before = everything(&lab);

        let vrfgate = lab.vrfgate();
        vrfgate.apply(&ssh_and_dns(net));
        client.connect(net.main(22)).should_reach("ssh");
        client.ask(net.main(53)).should_reach("dns");
        client.connect(net.main(80)).should_be_refused();
        assert_ne!(everything(&lab), before);
        vrfgate.clear();

        assert_eq!(
            everything(&lab),
            before,
            "local table last: {local_table_last}, unreachable default: {unreachable}"
        );
    }
}

fn a_local_table_that_moves_leaves_services_open(net: &Net) {
    let (lab, client) = without_leak_route(net);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh_and_dns(net));
    client.connect(net.main(22)).should_reach("ssh");

    net.isolate(&lab);

    client.connect(net.main(22)).should_reach("ssh");
    let family = if net.main.is_ipv4() { "IPv4" } else { "IPv6" };
    vrfgate.should_say(&format!(
        "the local table of {family} is looked up at preference 32765"
    ));
}

fn connections_from_the_main_table_into_a_vrf_work_while_the_gate_is_on(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        client.listen("far ssh").tcp(net.client(22)),
        client.listen("far dns").udp(net.client(53)),
    ];
    // To IPv6, the address of another device is no source of a route out of a VRF.
    let from = if net.main.is_ipv4() {
        format!("src {}", net.main)
    } else {
        String::new()
    };
    lab.ip(&format!("route add {} dev BLUE {from}", net.clients));
    let far = [net.client(22), net.client(53)];
    if net.main.is_ipv4() {
        // A side effect of the gate: without it, the answer finds no socket.
        lab.connect(far[0]).should_time_out();
    }

    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh_and_dns(net));

    lab.connect(far[0]).from(net.main).should_reach("far ssh");
    lab.ask(far[1]).from(net.main).should_reach("far dns");
}
