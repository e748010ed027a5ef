//! UDP: which sockets get a VRF's datagrams, and which answers find their way back.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use vrfgate_e2e::{Host, Lab, Plan, ReplyFrom};

use crate::{
    net::{Net, V4, V6},
    suite::tests,
};

tests! {
    "kernel";
    each family:
        a_stock_kernel_refuses_datagrams_of_a_vrf_to_unbound_sockets,
        answers_of_a_wildcard_server_leave_from_the_wrong_address,
        answers_of_a_server_bound_to_the_address_need_a_return_route,
        answers_of_a_server_that_echoes_the_address_need_a_return_route,
        a_server_that_echoes_address_and_interface_needs_no_return_route_in_ipv4_alone,
        a_group_datagram_of_a_vrf_reaches_unbound_sockets_once_l3mdev_accept_is_on;
    once:
        a_return_route_that_names_the_source_serves_every_kind_of_server,
        ipv6_has_no_return_route_that_names_a_source_of_the_main_domain,
        a_broadcast_of_a_vrf_reaches_unbound_sockets_once_l3mdev_accept_is_on;
}

fn a_stock_kernel_refuses_datagrams_of_a_vrf_to_unbound_sockets(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _wildcard = lab.listen("wildcard").udp(net.any(53));
    let _vrf = lab
        .listen("bound to the VRF")
        .bound_to("BLUE")
        .replying_from(ReplyFrom::AskedAddressAndInterface)
        .udp(net.any(54));

    client.ask(net.main(53)).should_be_refused();
    client.ask(net.router(54)).should_reach("bound to the VRF");
}

fn answers_of_a_wildcard_server_leave_from_the_wrong_address(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _dns = lab.listen("dns").udp(net.any(53));
    answers_arrive(
        net,
        &lab,
        &client,
        With {
            nothing: false,
            return_route: false,
        },
    );
}

fn answers_of_a_server_bound_to_the_address_need_a_return_route(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _dns = lab.listen("dns").udp(net.main(53));
    answers_arrive(
        net,
        &lab,
        &client,
        With {
            nothing: false,
            return_route: true,
        },
    );
}

fn answers_of_a_server_that_echoes_the_address_need_a_return_route(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _dns = lab
        .listen("dns")
        .replying_from(ReplyFrom::AskedAddress)
        .udp(net.any(53));
    answers_arrive(
        net,
        &lab,
        &client,
        With {
            nothing: false,
            return_route: true,
        },
    );
}

/// The two families differ: IPv6 takes only a source of the interface's own VRF (`EINVAL` from
/// `ip6_datagram_send_ctl`), unless non-local binds are allowed.
fn a_server_that_echoes_address_and_interface_needs_no_return_route_in_ipv4_alone(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _dns = lab
        .listen("dns")
        .replying_from(ReplyFrom::AskedAddressAndInterface)
        .udp(net.any(53));
    let v4 = net.main.is_ipv4();
    answers_arrive(
        net,
        &lab,
        &client,
        With {
            nothing: v4,
            return_route: v4,
        },
    );
    lab.set_sysctl("net.ipv6.ip_nonlocal_bind", "1");
    client.ask(net.main(53)).should_reach("dns");
}

/// Whether the answers of a server arrive, by what is in the main routing table.
#[derive(Clone, Copy)]
struct With {
    nothing: bool,
    return_route: bool,
}

#[track_caller]
fn answers_arrive(net: &Net, lab: &Lab, client: &Host, with: With) {
    let With {
        nothing,
        return_route,
    } = with;
    lab.accept_l3mdev(true);
    answer_arrives(net, client, nothing);
    lab.ip(&format!("route add {} dev BLUE", net.clients));
    answer_arrives(net, client, return_route);
}

#[track_caller]
fn answer_arrives(net: &Net, client: &Host, arrives: bool) {
    let question = client.ask(net.main(53));
    if arrives {
        question.should_reach("dns");
    } else {
        question.should_time_out();
    }
}

fn a_return_route_that_names_the_source_serves_every_kind_of_server() {
    for reply_from in [
        ReplyFrom::Anywhere,
        ReplyFrom::AskedAddress,
        ReplyFrom::AskedAddressAndInterface,
    ] {
        let (lab, client) = V4.one_vrf();
        lab.accept_l3mdev(true);
        lab.ip(&V4.return_route("BLUE"));
        let _wildcard = lab
            .listen("wildcard")
            .replying_from(reply_from)
            .udp(V4.any(53));
        let _bound = lab
            .listen("bound")
            .replying_from(reply_from)
            .udp(V4.main(54));
        client.ask(V4.main(53)).should_reach("wildcard");
        client.ask(V4.main(54)).should_reach("bound");
    }
}

/// "Invalid source address": to IPv6, a route into a VRF has a source of that VRF. So a wildcard server
/// without `IPV6_PKTINFO` can't be helped by routes.
fn ipv6_has_no_return_route_that_names_a_source_of_the_main_domain() {
    let (lab, _client) = V6.one_vrf();
    let refusal = lab
        .try_ip(&V6.return_route("BLUE"))
        .map_err(|error| error.to_string());
    assert!(
        refusal
            .as_ref()
            .is_err_and(|error| error.contains("Invalid source address")),
        "{refusal:?}"
    );
}

/// Group datagrams are delivered without a socket look-up, and so past every gate: this is why vrfgate
/// leaves `udp_l3mdev_accept` alone until a UDP service is wanted.
fn a_group_datagram_of_a_vrf_reaches_unbound_sockets_once_l3mdev_accept_is_on(net: &Net) {
    let group: SocketAddr = if net.main.is_ipv4() {
        (Ipv4Addr::new(224, 0, 0, 251), 5353).into()
    } else {
        (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb), 5353).into()
    };
    let (lab, client) = net.one_vrf();
    // Groups of this scope belong to a link, and the client has but one.
    let to = scoped(group, client.ifindex("eth0"));
    let member = |plan: Plan| match group {
        SocketAddr::V4(group) => plan.joining_v4(*group.ip(), Ipv4Addr::new(10, 0, 0, 1)),
        SocketAddr::V6(group) => plan.joining_v6(*group.ip(), lab.ifindex("blue1")),
    };

    let unbound = member(lab.listen("unbound")).udp(net.any(5353));
    client.announce(to);
    unbound.should_hear_nothing();

    lab.accept_l3mdev(true);
    client.announce(to);
    unbound.should_hear_something();
}

fn a_broadcast_of_a_vrf_reaches_unbound_sockets_once_l3mdev_accept_is_on() {
    for everybody in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let (lab, client) = V4.one_vrf();
        let to = (everybody, 6767).into();
        let unbound = lab.listen("unbound").udp(V4.any(6767));
        client.announce(to);
        unbound.should_hear_nothing();

        lab.accept_l3mdev(true);
        client.announce(to);
        unbound.should_hear_something();
    }
}

fn scoped(group: SocketAddr, interface: u32) -> SocketAddr {
    match group {
        SocketAddr::V4(_) => group,
        SocketAddr::V6(group) => SocketAddrV6::new(*group.ip(), group.port(), 0, interface).into(),
    }
}
