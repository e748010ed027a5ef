//! What the gate refuses, and what it lets in for another reason than a rule.

use super::{local, tcp, udp};
use crate::{
    leaks::{leak, open_tcp, service},
    net::Net,
    suite::tests,
};

tests! {
    "explain";
    each family:
        what_is_listed_and_answered_is_served,
        what_no_rule_lists_is_told_together_with_the_rule_that_was_meant,
        a_client_that_is_not_listed_is_told,
        a_vrf_that_no_leak_names_is_told,
        audit_lets_in_and_says_what_enforcing_would_do,
        without_a_gate_unbound_sockets_are_closed_or_all_open,
        a_client_on_the_host_itself_is_told_whether_it_comes_through_the_vrf;
    once:
        datagrams_that_audit_lets_in_find_the_sysctl_closed;
}

fn what_is_listed_and_answered_is_served(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _dns = lab.listen("dns").udp(net.main(53));
    lab.ip(&format!("route add {} dev BLUE", net.clients));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&leak(
        "BLUE",
        &format!(
            "services: [{}, {}]",
            service(net, "TCP", 22),
            service(net, "UDP", 53)
        ),
    ));

    tcp(net, &vrfgate, &client, 22).is_served_by("ssh", "nothing to do");
    udp(net, &vrfgate, &client, 53).is_served_by("dns", "rule blue/udp-53 lets it in");
}

fn what_no_rule_lists_is_told_together_with_the_rule_that_was_meant(net: &Net) {
    let (lab, client) = net.one_vrf();
    let second = net.add_main_address(&lab, 7);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let _dns = lab.listen("dns").udp(net.any(22));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));

    tcp(net, &vrfgate, &client, 80).fails("NotListed", "list TCP port 80");
    tcp(net, &vrfgate, &client, 81).fails("NotListed", "no unbound socket listens there");
    udp(net, &vrfgate, &client, 22).fails("NotListed", "rule blue/tcp-22 lists TCP, not UDP");
    tcp(net, &vrfgate, &client, 22)
        .to((second, 22).into())
        .fails(
            "NotListed",
            "rule blue/tcp-22 lists the port on other addresses",
        );
}

fn a_client_that_is_not_listed_is_told(net: &Net) {
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

    tcp(net, &vrfgate, &client, 22).is_served_by("ssh", "rule blue/ssh lets it in");
    tcp(net, &vrfgate, &client, 22)
        .from(stranger)
        .fails("SourceNotAllowed", &format!("add {stranger} to `sources`"));
}

fn a_vrf_that_no_leak_names_is_told(net: &Net) {
    let (lab, _blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));

    tcp(net, &vrfgate, &red, 22)
        .through("RED")
        .fails("VrfNotNamed", "no leak names VRF RED");
}

fn audit_lets_in_and_says_what_enforcing_would_do(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _web = lab.listen("web").tcp(net.any(80));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&leak(
        "BLUE",
        &format!("mode: Audit, services: [{}]", service(net, "TCP", 22)),
    ));

    tcp(net, &vrfgate, &client, 80).is_served_by("web", "under Enforce this is refused");
}

fn without_a_gate_unbound_sockets_are_closed_or_all_open(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _bgp = lab.listen("bgp").bound_to("BLUE").tcp(net.any(179));
    let vrfgate = lab.vrfgate();

    tcp(net, &vrfgate, &client, 22).fails("NoGate", "there is no gate");
    tcp(net, &vrfgate, &client, 179).is_served_by("bgp", "bound to BLUE");

    lab.accept_l3mdev(true);
    tcp(net, &vrfgate, &client, 22)
        .is_served_by("ssh", "every unbound socket is open to every VRF");
}

fn a_client_on_the_host_itself_is_told_whether_it_comes_through_the_vrf(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _listeners = [22, 80].map(|port| lab.listen("unbound").tcp(net.any(port)));
    let _bound = ["BLUE", "blue1"].map(|device| {
        let port = if device == "BLUE" { 179 } else { 180 };
        lab.listen(device).bound_to(device).tcp(net.any(port))
    });
    let vrfgate = lab.vrfgate();
    let ssh = format!(
        "{{name: ssh, protocol: TCP, port: 22, addresses: [\"{}\"]}}",
        net.clients
    );
    vrfgate.apply(&leak("BLUE", &format!("services: [{ssh}]")));

    let own = |port| local(&vrfgate, &lab, net.router(port));
    own(22).is_served_by("unbound", "a process of this host");
    own(80).fails("NotListed", "list TCP port 80");
    own(179).is_served_by("BLUE", "bound to BLUE");
    own(180).is_served_by("blue1", "bound to blue1");
    own(81).fails("NotListed", "no unbound socket listens there");
    for port in [22, 80] {
        local(&vrfgate, &lab, net.main(port)).fails("ReplyLost", "past VRF BLUE");
    }
}

/// The UDP switch stays as it was while no UDP service is listed, in Audit as elsewhere.
fn datagrams_that_audit_lets_in_find_the_sysctl_closed() {
    let net = &crate::net::V4;
    let (lab, client) = net.one_vrf();
    let _dns = lab.listen("dns").udp(net.any(53));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&leak(
        "BLUE",
        &format!("mode: Audit, services: [{}]", service(net, "TCP", 22)),
    ));

    udp(net, &vrfgate, &client, 53).fails("SysctlClosed", "with udp_l3mdev_accept=0");
}
