//! Transparent proxies: the module that redirects a packet looks the socket up, when the packet comes in.

use crate::{
    net::{V4, proxy_what_comes_in_by},
    suite::tests,
};

tests! {
    "kernel";
    once:
        a_transparent_proxy_is_reached_from_a_vrf,
        with_accept_a_transparent_proxy_is_reached_by_rules_for_the_vrf_and_not_by_those_for_a_slave;
}

const FAR: &str = "198.51.100.9:8080";

fn a_transparent_proxy_is_reached_from_a_vrf() {
    for device in ["BLUE", "blue1"] {
        let (lab, client) = V4.one_vrf();
        let _proxy = lab.listen("proxy").transparent().tcp("127.0.0.1:3128");
        proxy_what_comes_in_by(&lab, device);
        client.connect(FAR).should_reach("proxy");
    }
}

/// The connection is bound to the VRF then, and a look-up by the slave doesn't find it.
fn with_accept_a_transparent_proxy_is_reached_by_rules_for_the_vrf_and_not_by_those_for_a_slave() {
    for device in ["BLUE", "blue1"] {
        let (lab, client) = V4.one_vrf();
        lab.accept_l3mdev(true);
        let _proxy = lab.listen("proxy").transparent().tcp("127.0.0.1:3128");
        proxy_what_comes_in_by(&lab, device);
        let attempt = client.connect(FAR);
        match device {
            "BLUE" => attempt.should_reach("proxy"),
            _ => attempt.should_be_reset(),
        }
    }
}
