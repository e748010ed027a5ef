//! Listed services are open, and nothing else.

use vrfgate_e2e::ReplyFrom;

use crate::{
    leaks::{leak, open_tcp, service},
    net::Net,
    suite::tests,
};

tests! {
    "gate";
    each family:
        the_listed_port_is_open_and_its_neighbours_are_closed,
        the_listed_address_is_open_and_its_neighbour_is_closed,
        the_vrfs_own_address_is_closed_unless_it_is_listed,
        a_tcp_service_opens_no_udp_port_and_a_udp_service_no_tcp_port,
        a_port_range_opens_its_ports_and_no_others,
        a_service_without_addresses_is_open_on_the_prefixes_of_the_routes,
        only_listed_sources_are_let_in,
        two_vrfs_with_the_same_clients_get_each_their_own_services,
        main_routing_domain_clients_are_none_of_the_gates_business;
}

fn the_listed_port_is_open_and_its_neighbours_are_closed(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let _other = lab.listen("bound to the address").tcp(net.main(81));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", net, &[22]));

    client.connect(net.main(22)).should_reach("ssh");
    client.connect(net.main(80)).should_be_refused();
    client.connect(net.main(81)).should_be_refused();
    client.connect(net.main(82)).should_be_refused();
}

fn the_listed_address_is_open_and_its_neighbour_is_closed(net: &Net) {
    let (lab, client) = net.one_vrf();
    let neighbour = net.add_main_address(&lab, 7);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", net, &[22]));

    client.connect(net.main(22)).should_reach("ssh");
    client.connect((neighbour, 22)).should_be_refused();
}

fn the_vrfs_own_address_is_closed_unless_it_is_listed(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    client.connect(net.router(22)).should_be_refused();

    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "services: [{{name: ssh, protocol: TCP, port: 22, addresses: [\"{}\"]}}]",
            net.clients
        ),
    ));
    client.connect(net.router(22)).should_reach("ssh");
    client.connect(net.main(22)).should_be_refused();
}

fn a_tcp_service_opens_no_udp_port_and_a_udp_service_no_tcp_port(net: &Net) {
    let (lab, client) = net.one_vrf();
    lab.ip(&format!("route add {} dev BLUE", net.clients));
    let _both = [
        lab.listen("tcp 53").tcp(net.main(53)),
        lab.listen("udp 53").udp(net.main(53)),
        lab.listen("tcp 54").tcp(net.main(54)),
        lab.listen("udp 54").udp(net.main(54)),
    ];
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "services: [{}, {}]",
            service(net, "TCP", 53),
            service(net, "UDP", 54)
        ),
    ));

    client.connect(net.main(53)).should_reach("tcp 53");
    client.ask(net.main(53)).should_be_refused();
    client.connect(net.main(54)).should_be_refused();
    client.ask(net.main(54)).should_reach("udp 54");
}

fn a_port_range_opens_its_ports_and_no_others(net: &Net) {
    let (lab, client) = net.one_vrf();
    let ports = [7999, 8000, 8005, 8010, 8011];
    let _listeners = ports.map(|port| lab.listen("web").tcp(net.any(port)));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "services: [{{name: web, protocol: TCP, port: 8000, endPort: 8010, addresses: [\"{}\"]}}]",
            net.main_alone()
        ),
    ));

    for port in ports {
        let attempt = client.connect(net.main(port));
        if (8000..=8010).contains(&port) {
            attempt.should_reach("web");
        } else {
            attempt.should_be_refused();
        }
    }
}

fn a_service_without_addresses_is_open_on_the_prefixes_of_the_routes(net: &Net) {
    let (lab, client) = net.one_vrf();
    let second = net.add_main_address(&lab, 7);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{}\", device: lan}}], services: [{{name: ssh, protocol: TCP, port: 22}}]",
            net.main_prefix
        ),
    ));

    client.connect(net.main(22)).should_reach("ssh");
    client.connect((second, 22)).should_reach("ssh");
    client.connect(net.router(22)).should_be_refused();
}

fn only_listed_sources_are_let_in(net: &Net) {
    let (lab, client) = net.one_vrf();
    let stranger = net.add_client_address(&client, 3);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "services: [{{name: ssh, protocol: TCP, port: 22, addresses: [\"{}\"], sources: [\"{}/{}\"]}}]",
            net.main_alone(),
            net.client,
            if net.client.is_ipv4() { 32 } else { 128 },
        ),
    ));

    client
        .connect(net.main(22))
        .from(net.client)
        .should_reach("ssh");
    client
        .connect(net.main(22))
        .from(stranger)
        .should_be_refused();
}

fn two_vrfs_with_the_same_clients_get_each_their_own_services(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&(open_tcp("BLUE", net, &[22]) + &open_tcp("RED", net, &[80])));

    blue.connect(net.main(22)).should_reach("ssh");
    blue.connect(net.main(80)).should_be_refused();
    red.connect(net.main(22)).should_be_refused();
    red.connect(net.main(80)).should_reach("web");
}

fn main_routing_domain_clients_are_none_of_the_gates_business(net: &Net) {
    let (lab, _blue) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _dns = lab
        .listen("dns")
        .replying_from(ReplyFrom::AskedAddress)
        .udp(net.any(53));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&leak(
        "BLUE",
        &format!("services: [{}]", service(net, "UDP", 5300)),
    ));

    lab.connect(net.main(22)).should_reach("ssh");
    lab.ask(net.main(53)).should_reach("dns");
}
