//! What else may be wrong: other versions' pins, full maps, missing rights.

use std::{fs, process::Command};

use vrfgate_abi::LAYOUT;
use vrfgate_e2e::{Lab, Started};

use super::{InForce, should_complain};
use crate::{
    leaks::{leak, open_tcp},
    net::V4,
    suite::tests,
};

tests! {
    "input";
    once:
        pins_of_another_version_are_left_alone,
        of_more_rules_than_fit_the_last_leak_is_left_out_and_named,
        a_leak_that_grows_too_large_stays_in_force_as_it_was,
        without_privileges_it_is_said_what_is_missing,
        the_capabilities_of_the_systemd_unit_are_enough_and_each_is_needed,
        without_a_bpf_file_system_it_is_said_how_to_get_one,
        a_namespace_that_does_not_exist_is_told_by_its_name;
}

fn pins_of_another_version_are_left_alone() {
    let in_force = InForce::left_alone();
    let ours = format!("v{LAYOUT}");
    let pins = in_force.vrfgate.pins().join(&ours);
    let other = pins.with_file_name("v9");
    fs::rename(&pins, &other).unwrap_or_else(|error| panic!("{error}"));

    should_complain(&in_force.vrfgate.run_once(), &["v9", &ours]);
    should_complain(&in_force.vrfgate.call(&["clear"]), &["v9", &ours]);

    in_force.should_still_be();
    assert!(other.exists(), "the pins are gone");
}

/// A rule has a counter of its own, and there are 1024 of those. A leak has at most 256 services.
fn leak_of_250_rules(name: &str, first: u16) -> String {
    let services: Vec<String> = (first..first + 250)
        .map(|port| {
            format!("{{name: s{port}, protocol: TCP, port: {port}, addresses: [192.0.2.1/32]}}")
        })
        .collect();
    leak("BLUE", &format!("services: [{}]", services.join(", ")))
        .replace("name: blue}", &format!("name: {name}}}"))
}

fn of_more_rules_than_fit_the_last_leak_is_left_out_and_named() {
    let in_force = InForce::running();
    let too_many: String = [10_000, 11_000, 12_000, 13_000, 14_000]
        .map(|first| leak_of_250_rules(&format!("blue-{first}"), first))
        .concat();

    in_force
        .vrfgate
        .write(&(open_tcp("BLUE", &V4, &[22]) + &too_many));

    in_force.vrfgate.should_say("blue-14000 has no room");
    in_force.should_still_be();
    let status = in_force.vrfgate.status_text();
    assert!(status.contains("Leak blue-14000 has no room"), "{status}");
    assert!(!status.contains("Leak blue-13000"), "{status}");
}

fn a_leak_that_grows_too_large_stays_in_force_as_it_was() {
    let in_force = InForce::running();
    let older: String = [10_000, 11_000, 12_000, 13_000]
        .map(|first| leak_of_250_rules(&format!("blue-{first}"), first))
        .concat();
    in_force
        .vrfgate
        .write(&(older.clone() + &open_tcp("BLUE", &V4, &[22])));
    in_force.vrfgate.should_say("leak blue-13000 is in force");

    in_force
        .vrfgate
        .write(&(older + &leak_of_250_rules("blue", 14_000)));

    in_force.vrfgate.should_say("1024");
    in_force.should_still_be();
}

fn without_privileges_it_is_said_what_is_missing() {
    let lab = Lab::new();
    let vrfgate = lab.vrfgate();
    vrfgate.write(&open_tcp("BLUE", &V4, &[22]));
    let leaks = vrfgate.leaks();
    let run = vrfgate.command(&["run", "--once", "-f", &leaks.to_string_lossy()]);
    // All of root's rights taken away, and not the user: namespaces and directories stay readable.
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(run.get_program())
        .args(run.get_args())
        .finished()
        .unwrap_or_else(|error| panic!("setpriv: {error}"));
    should_complain(&output, &["CAP_BPF"]);
    assert_eq!(lab.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
}

/// The unit that packages install.
const UNIT: &str = include_str!("../../../operator/systemd/vrfgate.service");

fn the_capabilities_of_the_systemd_unit_are_enough_and_each_is_needed() {
    let (lab, client) = V4.one_vrf();
    let _listeners = (
        lab.listen("ssh").tcp("0.0.0.0:22"),
        lab.listen("web").tcp("0.0.0.0:80"),
        lab.listen("bgp").bound_to("BLUE").tcp("0.0.0.0:179"),
        lab.listen("dns").udp("192.0.2.1:53"),
    );
    lab.ip("route add default via 192.0.2.254 dev lan");
    let vrfgate = lab.vrfgate();
    vrfgate.write(&leak(
        "BLUE",
        "replies: Steer, routes: [{prefix: 192.0.2.0/24, device: lan}], services: [\
         {name: ssh, protocol: TCP, port: 22}, {name: dns, protocol: UDP, port: 53}]",
    ));
    let leaks = vrfgate.leaks();
    let run = ["run", "--once", "-f", &leaks.to_string_lossy()];
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let all: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    assert!(all.len() > 2, "the unit names no capabilities");

    for missing in &all {
        let rest: Vec<&str> = all.iter().copied().filter(|one| one != missing).collect();
        should_complain(&vrfgate.with_capabilities(&rest, &run), &[missing]);
        assert_eq!(lab.sysctl("net.ipv4.tcp_l3mdev_accept"), "0", "{missing}");
    }

    let output = vrfgate.with_capabilities(&all, &run);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    client.connect(V4.main(22)).should_reach("ssh");
    client.connect(V4.main(80)).should_be_refused();
    client.connect(V4.router(179)).should_reach("bgp");
    client.ask(V4.main(53)).should_reach("dns");
    let status = vrfgate.status();
    assert_eq!(status["gate"]["tracing"], true, "{status:#}");
    let output = vrfgate.with_capabilities(&all, &["clear"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(lab.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
}

fn without_a_bpf_file_system_it_is_said_how_to_get_one() {
    let lab = Lab::new();
    let vrfgate = lab.vrfgate();
    vrfgate.write(&open_tcp("BLUE", &V4, &[22]));
    vrfgate.unmount_bpffs();
    let output = vrfgate.run_once();
    should_complain(&output, &["mount -t bpf"]);
    assert_eq!(lab.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
}

fn a_namespace_that_does_not_exist_is_told_by_its_name() {
    let output = Command::new(vrfgate_e2e::program())
        .args(["status", "--netns", "no-such-namespace"])
        .finished()
        .unwrap_or_else(|error| panic!("{error}"));
    should_complain(&output, &["no-such-namespace"]);
}
