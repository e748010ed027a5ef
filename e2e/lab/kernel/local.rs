//! Where packets of a VRF for a main address are delivered, by the order of the policy rules.

use vrfgate_e2e::{Host, Lab};

use crate::{net::Net, suite::tests};

tests! {
    "kernel";
    each family:
        the_default_rules_deliver_to_main_addresses_without_any_leak_route,
        with_the_local_table_last_a_unicast_leak_route_does_not_deliver,
        with_the_local_table_last_a_local_leak_route_delivers,
        with_the_local_table_last_the_main_table_still_answers_for_a_vrf_without_default_route,
        with_the_local_table_last_an_unreachable_default_isolates_a_vrf;
}

/// As [`Net::one_vrf`] without a leak route, every unbound listener open.
fn without_leak_route(net: &Net) -> (Lab, Host) {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    lab.accept_l3mdev(true);
    (lab, client)
}

fn the_default_rules_deliver_to_main_addresses_without_any_leak_route(net: &Net) {
    let (lab, client) = without_leak_route(net);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_reach("ssh");
}

fn with_the_local_table_last_a_unicast_leak_route_does_not_deliver(net: &Net) {
    let (lab, client) = without_leak_route(net);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    net.put_local_table_last(&lab);
    lab.ip(&net.leak_route(10));
    client.connect(net.main(22)).should_time_out();
}

fn with_the_local_table_last_a_local_leak_route_delivers(net: &Net) {
    let (lab, client) = without_leak_route(net);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    net.isolate(&lab);
    lab.ip(&format!("route add local {} dev lan table 10", net.main));
    client.connect(net.main(22)).should_reach("ssh");
}

fn with_the_local_table_last_the_main_table_still_answers_for_a_vrf_without_default_route(
    net: &Net,
) {
    let (lab, client) = without_leak_route(net);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    net.put_local_table_last(&lab);
    client.connect(net.main(22)).should_reach("ssh");
}

fn with_the_local_table_last_an_unreachable_default_isolates_a_vrf(net: &Net) {
    let (lab, client) = without_leak_route(net);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    net.isolate(&lab);
    client.connect(net.main(22)).should_be_unreachable();
}
