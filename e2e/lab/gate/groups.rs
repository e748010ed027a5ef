//! Broadcast and multicast datagrams bypass the socket look-up, and so every gate. What vrfgate does about it.

use std::net::Ipv4Addr;

use crate::{
    leaks::{leak, open_tcp, service},
    net::V4,
    suite::tests,
};

tests! {
    "gate";
    once:
        broadcasts_of_a_vrf_stay_out_as_long_as_no_udp_service_is_listed,
        broadcasts_of_a_vrf_pass_the_gate_while_any_udp_service_is_listed;
}

fn broadcasts_of_a_vrf_stay_out_as_long_as_no_udp_service_is_listed() {
    let (lab, client) = V4.one_vrf();
    let dhcp = lab.listen("dhcp").udp(V4.any(67));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));

    client.announce((Ipv4Addr::BROADCAST, 67).into());
    client.announce((Ipv4Addr::new(10, 0, 0, 255), 67).into());
    dhcp.should_hear_nothing();
}

/// A known limit: nothing in a socket look-up program can change it.
fn broadcasts_of_a_vrf_pass_the_gate_while_any_udp_service_is_listed() {
    for everybody in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let (lab, client) = V4.one_vrf();
        let dhcp = lab.listen("dhcp").udp(V4.any(67));
        let vrfgate = lab.vrfgate();

        vrfgate.apply(&leak(
            "BLUE",
            &format!("services: [{}]", service(&V4, "UDP", 53)),
        ));

        client.ask(V4.main(67)).should_be_refused();
        client.announce((everybody, 67).into());
        dhcp.should_hear_something();
    }
}
