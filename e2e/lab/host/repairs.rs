//! What others do to the gate is put right, and told.

use std::fs;

use aya::{Ebpf, maps::SockMap, programs::SkLookup};
use vrfgate_e2e::{Lab, Listener, Vrfgate, detach_link};

use crate::{
    leaks::{leak, open_tcp},
    net::{Net, V4},
    suite::tests,
};

tests! {
    "host";
    each family:
        one_detached_link_opens_nothing_and_is_put_right,
        a_gate_that_somebody_detaches_comes_back_and_is_told,
        routes_that_somebody_flushes_come_back_and_are_told;
    once:
        sysctls_that_something_else_resets_are_set_again_and_told,
        pins_that_somebody_removes_come_back_and_the_gate_outlives_its_process,
        a_program_that_overrides_the_gate_is_told;
}

#[track_caller]
fn detach(vrfgate: &Vrfgate, link: &str) {
    detach_link(&vrfgate.pins().join(link)).unwrap_or_else(|error| panic!("{error}"));
}

fn one_detached_link_opens_nothing_and_is_put_right(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    for link in ["link", "guard-link"] {
        let mut vrfgate = lab.vrfgate();
        // Nobody is there who could put it right.
        vrfgate.apply(&open_tcp("BLUE", net, &[22]));
        detach(&vrfgate, link);
        for _ in 0..3 {
            client.connect(net.main(22)).should_reach("ssh");
            client.connect(net.main(80)).should_be_refused();
        }

        vrfgate.start(&open_tcp("BLUE", net, &[22]));
        detach(&vrfgate, link);
        vrfgate.should_soon_tell("one of the gate's two links had been detached");
        client.connect(net.main(22)).should_reach("ssh");
        client.connect(net.main(80)).should_be_refused();
        vrfgate.terminate();
        vrfgate.clear();
    }
}

fn a_gate_that_somebody_detaches_comes_back_and_is_told(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    detach(&vrfgate, "guard-link");
    detach(&vrfgate, "link");

    vrfgate.should_soon_tell("its link has been detached");
    client.connect(net.main(22)).should_soon_reach("ssh");
    client.connect(net.main(80)).should_be_refused();
}

fn routes_that_somebody_flushes_come_back_and_are_told(net: &Net) {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    net.isolate(&lab);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{}\"}}], services: [{{name: ssh, protocol: TCP, port: 22}}]",
            net.main_prefix
        ),
    ));

    let _ = lab.ip_shows(&format!("{} route flush table 10 proto 118", net.family()));

    vrfgate.should_soon_tell(&format!(
        "the route `local {} dev lan table 10` had gone",
        net.main
    ));
    client.connect(net.main(22)).should_reach("ssh");
}

fn sysctls_that_something_else_resets_are_set_again_and_told() {
    let (lab, _client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));

    lab.set_sysctl("net.ipv4.tcp_l3mdev_accept", "0");

    vrfgate.should_soon_tell("net.ipv4.tcp_l3mdev_accept had been set to 0; set it to 1 again");
    assert_eq!(lab.sysctl("net.ipv4.tcp_l3mdev_accept"), "1");
}

fn pins_that_somebody_removes_come_back_and_the_gate_outlives_its_process() {
    let (lab, client) = V4.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(V4.any(22)),
        lab.listen("web").tcp(V4.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));

    let root = vrfgate.bpffs().join("vrfgate");
    // It may be putting back what is being removed.
    let _ = fs::remove_dir_all(&root);

    vrfgate.should_soon_tell("pins had been removed");
    vrfgate.kill();
    client.connect(V4.main(22)).should_reach("ssh");
    client.connect(V4.main(80)).should_be_refused();
}

/// `ebpf/program/src/bin/assign.rs`: hands every packet to one socket.
static ASSIGN: &[u8] = aya::include_bytes_aligned!("../../../ebpf/object/assign.bpf.o");

fn a_program_that_overrides_the_gate_is_told() {
    let (lab, client) = V4.one_vrf();
    let web = lab.listen("web").tcp(V4.any(80));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    client.connect(V4.main(80)).should_be_refused();

    let program = assign(&lab, &web);

    vrfgate.should_soon_tell("(assign) runs here and may assign sockets");
    vrfgate.should_say("overrides what the gate refuses");
    client.connect(V4.main(80)).should_reach("web");

    drop(program);
    client.connect(V4.main(80)).should_soon_be_refused();
}

fn assign(lab: &Lab, listener: &Listener) -> Ebpf {
    let mut object = Ebpf::load(ASSIGN).expect("loading the object");
    let map = object.map_mut("listener").expect("its map");
    let mut map = SockMap::try_from(map).expect("its kind");
    map.set(0, listener, 0)
        .expect("putting the listener into it");
    let program: &mut SkLookup = object
        .program_mut("assign")
        .expect("the object has the program")
        .try_into()
        .expect("its kind");
    program.load().expect("loading the program");
    program.attach(lab.netns()).expect("attaching the program");
    object
}
