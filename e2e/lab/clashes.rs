//! Ports that an unbound and a VRF-bound socket both have are reported before they do harm.

use serde_json::Value;
use vrfgate_e2e::{Lab, Vrfgate, complaint};

use crate::{leaks::open_tcp, net::Net, suite::tests};

tests! {
    "clashes";
    each family:
        doctor_tells_of_a_clash_before_the_gate_and_status_after,
        ports_that_do_not_overlap_do_not_clash;
    once:
        a_dual_stack_socket_clashes_with_an_ipv4_one;
}

fn doctor(vrfgate: &Vrfgate) -> String {
    String::from_utf8_lossy(&vrfgate.call(&["doctor"]).stdout).into_owned()
}

#[track_caller]
fn should_be_none(lab: &Lab) {
    let vrfgate = lab.vrfgate();
    // That a gate would wait is another matter (`shared::`): there, any device of no VRF is like none at all.
    let said = doctor(&vrfgate);
    let mut told = said
        .lines()
        .filter(|line| !line.contains("the gate would wait"));
    assert!(!told.any(|line| line.contains("is shared by")), "{said}");
    let clashes = vrfgate.status()["clashes"].clone();
    assert_eq!(clashes, Value::Array(Vec::new()));
}

fn doctor_tells_of_a_clash_before_the_gate_and_status_after(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _unbound = lab.listen("unbound").tcp(net.any(22));
    let _bound = lab.listen("bound").bound_to("blue1").tcp(net.router(22));
    let vrfgate = lab.vrfgate();

    let said = doctor(&vrfgate);
    let clash = said
        .lines()
        .find(|line| line.contains("TCP port 22 is shared by"));
    let clash = clash.unwrap_or_else(|| panic!("{said}"));
    for words in [
        "note",
        "vrfgate-lab",
        "bound to blue1",
        "SO_REUSEPORT",
        "VRF BLUE",
        "may crash",
    ] {
        assert!(clash.contains(words), "{words}: {clash}");
    }

    let log = complaint(&vrfgate.apply_although_ports_are_shared(&open_tcp("BLUE", net, &[22])));
    assert!(log.contains("TCP port 22 is shared by"), "{log}");

    let status = vrfgate.status();
    let clash = &status["clashes"][0];
    assert_eq!(clash["port"], 22, "{status:#}");
    assert_eq!(clash["protocol"], "TCP");
    assert_eq!(clash["vrf"], "BLUE");
    assert_eq!(clash["bound"]["device"], "blue1");
    assert_eq!(clash["bound"]["address"], net.router.to_string());
    assert_eq!(status["clashes"].as_array().map(Vec::len), Some(1));
    let text = vrfgate.status_text();
    assert!(text.contains("TCP port 22 is shared by"), "{text}");
}

fn ports_that_do_not_overlap_do_not_clash(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _sockets = [
        // Another port, another address, another protocol, a device that is in no VRF.
        lab.listen("unbound").tcp(net.any(22)),
        lab.listen("bound").bound_to("BLUE").tcp(net.any(23)),
        lab.listen("unbound").tcp(net.main(24)),
        lab.listen("bound").bound_to("BLUE").tcp(net.router(24)),
        lab.listen("unbound").tcp(net.any(25)),
        lab.listen("bound").bound_to("BLUE").udp(net.any(25)),
        lab.listen("bound").bound_to("BLUE").tcp(net.any(26)),
        lab.listen("bound").bound_to("lan").tcp(net.any(26)),
    ];
    should_be_none(&lab);
}

fn a_dual_stack_socket_clashes_with_an_ipv4_one() {
    let lab = Lab::new();
    let _blue = lab.vrf("BLUE");
    let _unbound = lab.listen("unbound").tcp("[::]:22");
    let _bound = lab.listen("bound").bound_to("BLUE").tcp("0.0.0.0:22");
    let said = doctor(&lab.vrfgate());
    assert!(said.contains("on * bound to no device"), "{said}");
}
