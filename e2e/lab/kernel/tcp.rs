//! TCP clients of a VRF and listeners that are bound to none.

use vrfgate_e2e::Lab;

use crate::{net::Net, suite::tests};

tests! {
    "kernel";
    each family:
        a_stock_kernel_refuses_vrf_clients_of_unbound_listeners,
        l3mdev_accept_opens_every_unbound_listener_to_every_vrf,
        answers_to_a_vrf_need_no_return_route,
        open_connections_outlive_l3mdev_accept,
        connecting_from_main_into_a_vrf_takes_l3mdev_accept,
        clients_of_two_vrfs_may_have_the_same_address;
    once:
        dual_stack_listeners_are_no_exception;
}

fn a_stock_kernel_refuses_vrf_clients_of_unbound_listeners(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _wildcard = lab.listen("wildcard").tcp(net.any(22));
    let _bound = lab.listen("bound to the address").tcp(net.main(80));
    let _vrf = lab
        .listen("bound to the VRF")
        .bound_to("BLUE")
        .tcp(net.any(179));

    client.connect(net.main(22)).should_be_refused();
    client.connect(net.main(80)).should_be_refused();
    client.connect(net.router(22)).should_be_refused();
    client
        .connect(net.main(179))
        .should_reach("bound to the VRF");
}

fn l3mdev_accept_opens_every_unbound_listener_to_every_vrf(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.main(80));
    lab.accept_l3mdev(true);

    for client in [blue, red] {
        client.connect(net.main(22)).should_reach("ssh");
        client.connect(net.router(22)).should_reach("ssh");
        client.connect(net.main(80)).should_reach("web");
        client.connect(net.main(81)).should_be_refused();
    }
}

fn answers_to_a_vrf_need_no_return_route(net: &Net) {
    let (lab, client) = net.one_vrf();
    lab.accept_l3mdev(true);
    let _ssh = lab.listen("ssh").tcp(net.any(22));

    lab.ip(&format!("route add unreachable {}", net.clients));
    client.connect(net.main(22)).should_reach("ssh");
    lab.connect(net.client(22)).should_be_unreachable();
}

fn open_connections_outlive_l3mdev_accept(net: &Net) {
    let (lab, client) = net.one_vrf();
    lab.accept_l3mdev(true);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut session = client.talk_to(net.main(22));

    lab.accept_l3mdev(false);

    session.should_be_alive();
    client.connect(net.main(22)).should_be_refused();
}

fn connecting_from_main_into_a_vrf_takes_l3mdev_accept(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _web = client.listen("web of the client").tcp(net.any(80));
    lab.ip(&format!("route add {} dev BLUE", net.clients));
    let attempt = lab.connect(net.client(80)).from(net.main);

    attempt.should_time_out();
    lab.accept_l3mdev(true);
    attempt.should_reach("web of the client");
}

fn clients_of_two_vrfs_may_have_the_same_address(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    lab.accept_l3mdev(true);
    let _ssh = lab.listen("ssh").tcp(net.any(22));

    let mut sessions = [blue.talk_to(net.main(22)), red.talk_to(net.main(22))];
    for session in &mut sessions {
        session.should_be_alive();
    }
}

fn dual_stack_listeners_are_no_exception() {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", "10.0.0.1/24 2001:db8:a::1/64")
        .client("10.0.0.2/24 2001:db8:a::2/64");
    let _ssh = lab.listen("ssh").tcp("[::]:22");

    for accept in [false, true] {
        lab.accept_l3mdev(accept);
        for to in ["192.0.2.1:22", "[2001:db8:1::1]:22"] {
            let attempt = client.connect(to);
            if accept {
                attempt.should_reach("ssh");
            } else {
                attempt.should_be_refused();
            }
        }
    }
}
