//! The design that looks obvious: an `sk_lookup` program that hands VRF packets to the listener itself,
//! with `l3mdev_accept` left at 0. It is why the gate is what it is.

use aya::{Ebpf, maps::SockMap, programs::SkLookup};
use vrfgate_e2e::{Lab, Listener};

use crate::{net::Net, suite::tests};

/// `ebpf/program/src/bin/assign.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/object/assign.bpf.o");

tests! {
    "kernel";
    each family:
        assigning_the_listener_loses_the_answer_by_the_main_table,
        assigning_the_listener_resets_tcp_clients_even_with_a_return_route,
        assigning_the_socket_is_enough_for_udp;
}

fn assigning_the_listener_loses_the_answer_by_the_main_table(net: &Net) {
    let (lab, client) = net.one_vrf();
    let ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_be_refused();

    let _program = assign(&lab, &ssh);

    client.connect(net.main(22)).should_time_out();
    lab.connect(net.main(22)).should_reach("ssh");
}

fn assigning_the_listener_resets_tcp_clients_even_with_a_return_route(net: &Net) {
    let (lab, client) = net.one_vrf();
    let ssh = lab.listen("ssh").tcp(net.any(22));
    lab.ip(&format!("route add {} dev BLUE", net.clients));

    let _program = assign(&lab, &ssh);

    client.connect(net.main(22)).should_be_reset();
    assert_eq!(ssh.served(), 0, "the server has seen a connection");
}

fn assigning_the_socket_is_enough_for_udp(net: &Net) {
    let (lab, client) = net.one_vrf();
    let dns = lab.listen("dns").udp(net.main(53));
    lab.ip(&format!("route add {} dev BLUE", net.clients));
    client.ask(net.main(53)).should_be_refused();

    let _program = assign(&lab, &dns);

    client.ask(net.main(53)).should_reach("dns");
}

/// Hands every packet that looks for a socket in the lab's namespace to this one, until dropped.
fn assign(lab: &Lab, listener: &Listener) -> Ebpf {
    let mut object = Ebpf::load(OBJECT).expect("loading the object");
    let mut map =
        SockMap::try_from(object.map_mut("listener").expect("its map")).expect("its kind");
    map.set(0, listener, 0)
        .expect("putting the listener into the map");
    let program: &mut SkLookup = object
        .program_mut("assign")
        .expect("the object has the program")
        .try_into()
        .expect("its kind");
    program.load().expect("loading the program");
    program.attach(lab.netns()).expect("attaching the program");
    object
}
