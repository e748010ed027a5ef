//! What a process of the host sends to an address of the host itself, both sysctls being 0: such packets never leave the
//! host, and whether they come through the VRF is the address's affair.

use std::net::{SocketAddr, SocketAddrV6};

use vrfgate_e2e::Host;

use crate::{
    net::{Net, V6},
    suite::tests,
};

tests! {
    "kernel";
    each family:
        a_local_client_inside_the_vrf_comes_through_it_to_the_vrfs_own_address,
        a_local_client_inside_the_vrf_hears_no_answer_from_a_main_address;
    once:
        a_slaves_link_local_address_is_reached_past_the_vrf_by_local_clients;
}

fn a_local_client_inside_the_vrf_comes_through_it_to_the_vrfs_own_address(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _web = lab.listen("web").tcp(net.any(80));
    let _bgp = lab.listen("on BLUE").bound_to("BLUE").tcp(net.any(179));
    let _bfd = lab.listen("on blue1").bound_to("blue1").tcp(net.any(180));
    for device in ["BLUE", "blue1"] {
        lab.accept_l3mdev(false);
        let connect = |port| lab.connect(net.router(port)).bound_to(device);
        connect(80).should_be_refused();
        connect(179).should_reach("on BLUE");
        connect(180).should_reach("on blue1");
        lab.accept_l3mdev(true);
        connect(80).should_reach("web");
    }
}

fn a_local_client_inside_the_vrf_hears_no_answer_from_a_main_address(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let web = lab.listen("web").udp(net.any(80));
    lab.ask(net.main(80)).bound_to("BLUE").should_time_out();
    web.should_hear_something();
    lab.connect(net.main(80)).bound_to("BLUE").should_time_out();
}

fn a_slaves_link_local_address_is_reached_past_the_vrf_by_local_clients() {
    let (lab, client) = V6.one_vrf();
    lab.ip("address add fe80::b1/64 dev blue1 nodad");
    client.ip("address add fe80::c/64 dev eth0 nodad");
    let _web = lab.listen("web").tcp(V6.any(80));
    let own = lab.connect(link_local(&lab, "blue1"));
    own.should_reach("web");
    for device in ["BLUE", "blue1"] {
        own.clone().bound_to(device).should_reach("web");
    }
    client
        .connect(link_local(&client, "eth0"))
        .should_be_refused();
}

fn link_local(host: &Host, device: &str) -> SocketAddr {
    let address = [0xfe80, 0, 0, 0, 0, 0, 0, 0xb1].into();
    SocketAddrV6::new(address, 80, 0, host.ifindex(device)).into()
}
