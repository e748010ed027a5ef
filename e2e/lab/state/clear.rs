//! `vrfgate clear` restores a namespace exactly as it was.

use std::{fs, path::Path};

use vrfgate_e2e::{Lab, Vrfgate};

use crate::{
    leaks::{leak, open_tcp, service},
    net::{V4, routing},
    suite::tests,
};

tests! {
    "state";
    once:
        clear_leaves_nothing_behind,
        sysctls_are_given_back_as_they_were,
        sysctls_are_given_back_as_they_were_after_a_kill,
        the_udp_sysctl_is_touched_only_for_a_udp_service,
        clear_without_a_gate_says_so_and_succeeds;
}

const TCP: &str = "net.ipv4.tcp_l3mdev_accept";
const UDP: &str = "net.ipv4.udp_l3mdev_accept";

fn clear_leaves_nothing_behind() {
    let (lab, _client) = V4.one_vrf();
    let before = routing(&lab);
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&tcp_and_udp());
    assert_eq!(lab.sysctl(TCP), "1");
    assert_eq!(routing(&lab), before, "vrfgate changed routing");
    vrfgate.terminate();

    vrfgate.clear();

    should_be_gone(&vrfgate);
    assert_eq!(routing(&lab), before);
    assert_eq!((lab.sysctl(TCP), lab.sysctl(UDP)), ("0".into(), "0".into()));
}

fn sysctls_are_given_back_as_they_were() {
    for (tcp, udp) in [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")] {
        let (lab, _client) = V4.one_vrf();
        lab.set_sysctl(TCP, tcp);
        lab.set_sysctl(UDP, udp);
        let vrfgate = lab.vrfgate();

        vrfgate.apply(&tcp_and_udp());
        assert_eq!((lab.sysctl(TCP), lab.sysctl(UDP)), ("1".into(), "1".into()));
        vrfgate.clear();

        assert_eq!((lab.sysctl(TCP), lab.sysctl(UDP)), (tcp.into(), udp.into()));
    }
}

fn sysctls_are_given_back_as_they_were_after_a_kill() {
    let (lab, _client) = V4.one_vrf();
    lab.set_sysctl(TCP, "1");
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&tcp_and_udp());
    vrfgate.kill();
    vrfgate.restart();
    vrfgate.kill();

    vrfgate.clear();

    assert_eq!((lab.sysctl(TCP), lab.sysctl(UDP)), ("1".into(), "0".into()));
}

fn the_udp_sysctl_is_touched_only_for_a_udp_service() {
    let (lab, _client) = V4.one_vrf();
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    assert_eq!(lab.sysctl(UDP), "0");
    vrfgate.apply(&tcp_and_udp());
    assert_eq!(lab.sysctl(UDP), "1");
    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    assert_eq!(lab.sysctl(UDP), "0");
}

fn clear_without_a_gate_says_so_and_succeeds() {
    let lab = Lab::new();
    let vrfgate = lab.vrfgate();
    let output = vrfgate.call(&["clear"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("there is no gate"), "{said}");
    should_be_gone(&vrfgate);
}

fn tcp_and_udp() -> String {
    leak(
        "BLUE",
        &format!(
            "services: [{}, {}]",
            service(&V4, "TCP", 22),
            service(&V4, "UDP", 53)
        ),
    )
}

#[track_caller]
fn should_be_gone(vrfgate: &Vrfgate) {
    for left in [vrfgate.bpffs().join("vrfgate"), vrfgate.run_dir()] {
        let files = files_below(&left);
        assert!(files.is_empty(), "left behind: {files:?}");
    }
}

fn files_below(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path().display().to_string())
        .collect()
}
