//! Unbound and VRF-bound sockets on one port: the price of `l3mdev_accept`.

use std::io;

use nix::errno::Errno;
use vrfgate_e2e::{Lab, Listener, Plan};

use crate::{net::Net, suite::tests};

tests! {
    "kernel";
    each family:
        without_l3mdev_accept_unbound_and_vrf_bound_listeners_share_a_port,
        with_l3mdev_accept_they_cannot_share_a_port,
        with_l3mdev_accept_they_share_a_port_when_both_say_so,
        sockets_that_share_a_port_already_go_on_when_l3mdev_accept_comes,
        without_reuseport_the_vrf_bound_listener_wins_over_the_unbound_one,
        udp_sockets_never_share_a_port_unless_both_say_so,
        with_reuseport_the_order_of_listening_decides_who_wins,
        an_unbound_listener_on_the_address_wins_over_a_vrf_bound_wildcard;
}

fn without_l3mdev_accept_unbound_and_vrf_bound_listeners_share_a_port(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _unbound = lab.listen("unbound").tcp(net.any(22));
    let _bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(22));

    client.connect(net.main(22)).should_reach("bound");
    lab.connect(net.main(22)).should_reach("unbound");
}

fn with_l3mdev_accept_they_cannot_share_a_port(net: &Net) {
    let lab = lab_with_an_open_vrf();
    let _unbound = lab.listen("unbound").tcp(net.any(22));
    should_be_in_use(lab.listen("bound").bound_to("BLUE").try_tcp(net.any(22)));
    // One side alone can't decide it.
    should_be_in_use(
        lab.listen("bound")
            .bound_to("BLUE")
            .sharing_its_port()
            .try_tcp(net.any(22)),
    );
}

fn with_l3mdev_accept_they_share_a_port_when_both_say_so(net: &Net) {
    let lab = lab_with_an_open_vrf();
    let _unbound = lab.listen("unbound").sharing_its_port().tcp(net.any(179));
    let _bound = lab
        .listen("bound")
        .bound_to("BLUE")
        .sharing_its_port()
        .tcp(net.any(179));
}

fn sockets_that_share_a_port_already_go_on_when_l3mdev_accept_comes(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _unbound = lab.listen("unbound").tcp(net.any(22));
    let _bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(22));

    lab.accept_l3mdev(true);

    client.connect(net.main(22)).should_reach("bound");
    lab.connect(net.main(22)).should_reach("unbound");
}

/// One point in `compute_score`. Only sockets without `SO_REUSEPORT` are compared by it, and those got
/// their common port before `l3mdev_accept` came.
fn without_reuseport_the_vrf_bound_listener_wins_over_the_unbound_one(net: &Net) {
    for bound_first in [false, true] {
        let (lab, client) = net.one_vrf();
        let _listeners = both(&lab, bound_first, |plan| plan.tcp(net.any(22)));
        lab.accept_l3mdev(true);
        for _ in 0..4 {
            client.connect(net.main(22)).should_reach("bound");
        }
        lab.connect(net.main(22)).should_reach("unbound");
    }
}

fn udp_sockets_never_share_a_port_unless_both_say_so(net: &Net) {
    let lab = Lab::new();
    let _table_only = lab.vrf("BLUE");
    // Ports of their own, because a listener takes a moment to go.
    for (accept, alone, shared) in [(false, 53, 54), (true, 55, 56)] {
        lab.accept_l3mdev(accept);
        let _unbound = lab.listen("unbound").udp(net.any(alone));
        should_be_in_use(lab.listen("bound").bound_to("BLUE").try_udp(net.any(alone)));
        let _shared = both(&lab, accept, |plan| {
            plan.sharing_its_port().udp(net.any(shared))
        });
    }
}

/// The kernel takes the first group of `SO_REUSEPORT` sockets that matches at all (`lookup_reuseport`
/// before scores are compared), and keeps IPv4 sockets newest first, IPv6 ones oldest first.
/// So a VRF-bound listener is no proof that its VRF's packets go to it.
fn with_reuseport_the_order_of_listening_decides_who_wins(net: &Net) {
    for bound_first in [false, true] {
        let (lab, client) = net.one_vrf();
        lab.accept_l3mdev(true);
        let tcp = |plan: Plan| plan.sharing_its_port().tcp(net.any(179));
        let _listeners = both(&lab, bound_first, tcp);
        let newest_wins = net.main.is_ipv4();
        let winner = if bound_first == newest_wins {
            "unbound"
        } else {
            "bound"
        };
        for _ in 0..4 {
            client.connect(net.main(179)).should_reach(winner);
        }
        lab.connect(net.main(179)).should_reach("unbound");
    }
}

/// An address is looked up before the wildcard, whatever device is asked for.
fn an_unbound_listener_on_the_address_wins_over_a_vrf_bound_wildcard(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(22));
    let _unbound = lab.listen("unbound").tcp(net.main(22));
    lab.accept_l3mdev(true);
    client.connect(net.main(22)).should_reach("unbound");
    client.connect(net.router(22)).should_reach("bound");
}

/// An unbound and a VRF-bound listener of one kind, started in this order.
fn both(lab: &Lab, bound_first: bool, start: impl Fn(Plan) -> Listener) -> [Listener; 2] {
    let unbound = || start(lab.listen("unbound"));
    let bound = || start(lab.listen("bound").bound_to("BLUE"));
    if bound_first {
        [bound(), unbound()]
    } else {
        [unbound(), bound()]
    }
}

fn lab_with_an_open_vrf() -> Lab {
    let lab = Lab::new();
    let _table_only = lab.vrf("BLUE");
    lab.accept_l3mdev(true);
    lab
}

#[track_caller]
fn should_be_in_use(bound: io::Result<Listener>) {
    match bound {
        Ok(_) => panic!("the port was free"),
        Err(error) => assert_eq!(
            error.raw_os_error(),
            Some(Errno::EADDRINUSE as i32),
            "{error}"
        ),
    }
}
