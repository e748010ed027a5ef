//! The gate follows what happens around it, without a restart.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use vrfgate_abi::{LAYOUT, VrfPolicy};
use vrfgate_e2e::{Lab, Netns};

use crate::{
    leaks::{leak, open_tcp},
    net::{Net, V4},
    suite::tests,
};

tests! {
    "gate";
    each family:
        an_edit_of_the_file_comes_into_force,
        a_vrf_that_appears_later_is_gated_and_its_leak_comes_into_force,
        a_vrf_that_appears_later_and_that_no_leak_names_is_closed,
        an_address_that_appears_later_inside_a_listed_prefix_is_open,
        a_vrf_that_is_made_anew_is_gated_again;
    once:
        a_new_vrf_is_in_the_gate_and_how_soon_is_told;
}

fn an_edit_of_the_file_comes_into_force(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    client.connect(net.main(80)).should_be_refused();

    vrfgate.write(&open_tcp("BLUE", net, &[80]));

    client.connect(net.main(80)).should_soon_reach("web");
    // Old rules are removed after new ones were added.
    client.connect(net.main(22)).should_soon_be_refused();
}

fn a_vrf_that_appears_later_is_gated_and_its_leak_comes_into_force(net: &Net) {
    let lab = Lab::new();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    vrfgate.should_say("waits for VRF BLUE");

    let client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());

    // Until the gate has heard of the VRF, which takes longer on a slow machine, nothing is refused.
    client.connect(net.main(80)).should_soon_be_refused();
    client.connect(net.main(22)).should_soon_reach("ssh");
}

fn a_vrf_that_appears_later_and_that_no_leak_names_is_closed(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());

    // Making the client takes longer than the gate needs to hear of the VRF.
    red.connect(net.main(22)).should_soon_be_refused();
    blue.connect(net.main(22)).should_reach("ssh");
}

fn an_address_that_appears_later_inside_a_listed_prefix_is_open(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&leak(
        "BLUE",
        &format!(
            "services: [{{name: ssh, protocol: TCP, port: 22, addresses: [\"{}\"]}}]",
            net.main_prefix
        ),
    ));

    let later = net.add_main_address(&lab, 7);

    client.connect((later, 22)).should_soon_reach("ssh");
    client.connect((later, 80)).should_be_refused();
}

fn a_vrf_that_is_made_anew_is_gated_again(net: &Net) {
    let (lab, old) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    old.connect(net.main(22)).should_reach("ssh");

    lab.ip("link del blue1\nlink del BLUE");
    drop(old);
    let client = lab
        .vrf("BLUE")
        .slave("blue2", &net.router_cidr())
        .client(&net.client_cidr());

    client.connect(net.main(80)).should_soon_be_refused();
    client.connect(net.main(22)).should_soon_reach("ssh");
}

/// Measured, not judged: how long it takes depends on the machine, and emulated ones are slow.
fn a_new_vrf_is_in_the_gate_and_how_soon_is_told() {
    let (lab, _client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let map = vrfgate.pins().join(format!("v{LAYOUT}/vrfs"));

    let mut times: Vec<Duration> = (0..10)
        .map(|number| {
            let name = format!("NEW{number}");
            thread::scope(|scope| {
                let waiting = scope.spawn(|| time_to_be_gated(lab.netns(), &name, &map));
                lab.ip(&format!("link add {name} type vrf table {}", 100 + number));
                waiting
                    .join()
                    .unwrap_or_else(|_| panic!("{name} is not gated"))
            })
        })
        .collect();

    times.sort();
    println!(
        "a new VRF is gated within {:?} (median), {:?} (longest)",
        times[5], times[9]
    );
}

/// From the moment that the VRF exists to the moment that the gate's map has it.
fn time_to_be_gated(netns: &Netns, name: &str, map: &Path) -> Duration {
    let vrfs = MapData::from_pin(map).expect("the gate's map");
    let vrfs: HashMap<_, u32, [u8; size_of::<VrfPolicy>()]> =
        Map::HashMap(vrfs).try_into().expect("its kind");
    let deadline = Instant::now() + Duration::from_mins(2);
    netns.enter(|| {
        let ifindex = loop {
            match nix::net::if_::if_nametoindex(name) {
                Ok(ifindex) => break ifindex,
                Err(_) => thread::yield_now(),
            }
            assert!(Instant::now() < deadline, "no {name}");
        };
        let made = Instant::now();
        while vrfs.get(&ifindex, 0).is_err() {
            assert!(Instant::now() < deadline, "{name} is not gated");
            thread::yield_now();
        }
        made.elapsed()
    })
}
