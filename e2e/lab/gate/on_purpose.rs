//! Link-local addresses, which are opened only by a prefix that lies wholly among them.

use crate::{leaks::leak, net::V4, suite::tests};

tests! {
    "gate";
    once:
        a_node_local_dns_is_opened_by_its_own_prefix_and_not_by_every_address,
        an_address_of_a_prefix_that_is_local_as_a_whole_stays_closed_where_it_is_link_local;
}

fn a_node_local_dns_is_opened_by_its_own_prefix_and_not_by_every_address() {
    let (lab, client) = V4.one_vrf();
    lab.ip("link add nodelocaldns type dummy\nlink set nodelocaldns up\naddress add 169.254.20.10/32 dev nodelocaldns");
    let _listeners = [
        lab.listen("ssh").tcp("0.0.0.0:22"),
        lab.listen("dns").tcp("0.0.0.0:53"),
    ];
    let vrfgate = lab.vrfgate();
    let everything = "{name: dns, protocol: TCP, port: 53, addresses: [0.0.0.0/0, \"::/0\"]}, \
                      {name: ssh, protocol: TCP, port: 22, addresses: [168.0.0.0/6, 192.0.2.1/32]}";
    vrfgate.apply(&leak("BLUE", &format!("services: [{everything}]")));
    client.connect("192.0.2.1:53").should_reach("dns");
    client.connect("10.0.0.1:53").should_reach("dns");
    client.connect("169.254.20.10:53").should_be_refused();
    client.connect("169.254.20.10:22").should_be_refused();

    // Beside it, for the same port.
    let own = "{name: node-local, protocol: TCP, port: 53, sources: [10.0.0.0/8], \
                addresses: [169.254.20.10/32, 127.0.0.0/8, \"fe80::/10\"]}";
    vrfgate.apply(&leak("BLUE", &format!("services: [{everything}, {own}]")));
    client.connect("192.0.2.1:53").should_reach("dns");
    client.connect("169.254.20.10:53").should_reach("dns");
    client.connect("169.254.20.10:22").should_be_refused();
}

fn an_address_of_a_prefix_that_is_local_as_a_whole_stays_closed_where_it_is_link_local() {
    let (lab, client) = V4.one_vrf();
    lab.ip("route add local 169.252.0.0/14 dev lo");
    V4.isolate(&lab);
    let _ssh = lab.listen("ssh").tcp("0.0.0.0:22");
    let vrfgate = lab.vrfgate();
    let services = "services: [{name: ssh, protocol: TCP, port: 22}]";
    vrfgate.apply(&leak(
        "BLUE",
        &format!("routes: [{{prefix: 0.0.0.0/0}}], {services}"),
    ));
    client.connect("169.253.7.7:22").should_reach("ssh");
    client.connect("169.255.7.7:22").should_reach("ssh");
    client.connect("169.254.20.10:22").should_be_unreachable();

    vrfgate.apply(&leak(
        "BLUE",
        &format!("routes: [{{prefix: 169.254.20.0/24}}], {services}"),
    ));
    client.connect("169.254.20.10:22").should_reach("ssh");
    client.connect("169.253.7.7:22").should_be_unreachable();
}
