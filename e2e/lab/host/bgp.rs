//! FRR's bgpd with a session inside a VRF, in front of and behind the gate.

use vrfgate_e2e::{Bgp, Host, Lab};

use crate::{
    leaks::{leak, service},
    net::V4,
    suite::tests,
};

tests! {
    "host";
    once:
        a_bgp_session_inside_a_vrf_outlives_gate_on_apply_upgrade_and_off,
        a_bgp_session_with_md5_comes_up_behind_the_gate_and_outlives_it,
        a_bgp_session_with_md5_comes_up_beside_a_bgpd_that_listens_without_a_vrf;
}

fn a_bgp_session_inside_a_vrf_outlives_gate_on_apply_upgrade_and_off() {
    let (lab, client) = V4.one_vrf();
    let (router, peer) = session(&lab, &client, "", None);
    router.should_soon_be_up();

    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh_and(""));
    router.should_have_stayed_up();
    vrfgate.write(&ssh_and(&format!(", {}", service(&V4, "UDP", 53))));
    vrfgate.should_say("entries written");
    router.should_have_stayed_up();
    vrfgate.kill();
    vrfgate.restart();
    vrfgate.terminate();
    vrfgate.clear();

    router.should_have_stayed_up();
    peer.should_have_stayed_up();
}

fn a_bgp_session_with_md5_comes_up_behind_the_gate_and_outlives_it() {
    let (lab, client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh_and(""));

    let (router, peer) = session(&lab, &client, "", Some("s3cret"));

    router.should_soon_be_up();
    vrfgate.kill();
    vrfgate.restart();
    vrfgate.terminate();
    vrfgate.clear();
    router.should_have_stayed_up();
    peer.should_have_stayed_up();
}

/// Kernel documentation (vrf.rst) leaves it open which of two listeners gets a VRF's connection under
/// `tcp_l3mdev_accept=1`, one bound to the VRF or one that is not, and names MD5 keys as what breaks then:
/// only the one that is bound has the key.
fn a_bgp_session_with_md5_comes_up_beside_a_bgpd_that_listens_without_a_vrf() {
    let (lab, client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&ssh_and(""));

    let (router, _peer) = session(&lab, &client, "router bgp 65000\n", Some("s3cret"));

    router.should_soon_be_up();
}

fn ssh_and(services: &str) -> String {
    leak(
        "BLUE",
        &format!("services: [{}{services}]", service(&V4, "TCP", 22)),
    )
}

/// A bgpd of the router inside BLUE, which waits to be called, and one of the client, which calls.
fn session(lab: &Lab, client: &Host, besides: &str, password: Option<&str>) -> (Bgp, Bgp) {
    let instance = |id: &str, peer: &str, number: u32| {
        format!(
            " bgp router-id {id}\n \
             no bgp ebgp-requires-policy\n \
             neighbor {peer} remote-as {number}\n \
             neighbor {peer} timers 3 60\n \
             neighbor {peer} timers connect 2\n"
        )
    };
    let (inside, outside) = ("router bgp 65001 vrf BLUE", "router bgp 65002");
    let router = format!(
        "{besides}{inside}\n{} neighbor 10.0.0.2 passive\n",
        instance("10.0.0.1", "10.0.0.2", 65002)
    );
    let peer = format!("{outside}\n{}", instance("10.0.0.2", "10.0.0.1", 65001));
    let router = Bgp::start(lab, "BLUE", &router);
    if let Some(password) = password {
        router.set_password(inside, "10.0.0.2", password);
    }
    let peer = Bgp::start(client, "default", &peer);
    if let Some(password) = password {
        peer.set_password(outside, "10.0.0.1", password);
    }
    (router, peer)
}
