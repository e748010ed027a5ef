//! A port that is shared when the gate shall go, when something else throws the switch, or when it comes to be shared.

use std::{net::TcpStream, process::Command};

use vrfgate_e2e::complaint;

use super::{
    TCP, is_concerned, share_by_reuseport, should_soon_be_in_force, the_kernel_should_be_well,
};
use crate::{
    leaks::open_tcp,
    net::{Net, V4},
    suite::{soon, tests},
};

tests! {
    "shared";
    each family:
        clear_refuses_while_a_port_is_shared_and_what_was_in_force_stays,
        a_session_through_the_gate_keeps_nobody_from_clearing,
        a_port_that_comes_to_be_shared_is_told_at_once;
    once:
        clear_goes_ahead_where_it_is_accepted,
        a_sysctl_that_something_else_resets_is_set_again_though_a_port_is_shared,
        a_gate_that_is_taken_away_closes_at_once_though_a_port_is_shared_and_comes_back,
        a_listener_of_another_vrf_that_comes_later_is_told_too;
}

fn clear_refuses_while_a_port_is_shared_and_what_was_in_force_stays(net: &Net) {
    if !is_concerned() {
        return;
    }
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();
    let spec = format!(
        "routes: [{{prefix: \"{}\"}}], services: [{}]",
        net.main_prefix,
        crate::leaks::service(net, "TCP", 22)
    );
    vrfgate.apply(&crate::leaks::leak("BLUE", &spec));
    let pair = share_by_reuseport(&lab, net, 179);
    let before = lab.routing();

    let output = vrfgate.call(&["clear"]);

    let said = complaint(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("TCP port 179"), "{said}");
    assert!(said.contains("--accept-shared-ports"), "{said}");
    assert_eq!(lab.routing(), before);
    assert_eq!(lab.sysctl(TCP), "1");
    client.connect(net.main(22)).should_reach("ssh");

    drop(pair);
    soon("clear goes ahead", || {
        vrfgate.call(&["clear"]).status.success()
    });
    assert_eq!(lab.sysctl(TCP), "0");
}

/// What a gated listener accepts is bound to the VRF, but in the bucket of its listener.
fn a_session_through_the_gate_keeps_nobody_from_clearing(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    let session = client.talk_to(net.main(22));
    vrfgate.terminate();
    vrfgate.clear();
    // Nor the gate from coming back.
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    drop(session);
    vrfgate.clear();
}

fn a_port_that_comes_to_be_shared_is_told_at_once(net: &Net) {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = net.one_vrf();
    let bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(179));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    should_soon_be_in_force(&lab, &vrfgate);
    assert_eq!(warned(&vrfgate, 179), None);

    // The kernel allows it: the other is in a bucket of its own.
    let unbound = lab.listen("unbound").tcp(net.any(179));

    soon("the port is told", || warned(&vrfgate, 179).is_some());
    let warning = warned(&vrfgate, 179).unwrap_or_default();
    assert!(warning.contains("vrfgate-lab (process"), "{warning}");
    assert!(vrfgate.said().contains(&warning), "{}", vrfgate.said());
    assert_eq!(vrfgate.status()["leaks"][0]["state"], "InForce");
    drop(unbound);
    soon("it is no more", || warned(&vrfgate, 179).is_none());
    drop(bound);

    // Both have bound since: there is nothing to report.
    let _pair = share_by_reuseport(&lab, net, 180);
    let _another = lab.listen("bound").bound_to("BLUE").tcp(net.any(181));
    let log = || vrfgate.status()["clashes"].to_string();
    soon("the pair is seen", || log().contains("180"));
    assert_eq!(warned(&vrfgate, 180), None);
}

fn a_listener_of_another_vrf_that_comes_later_is_told_too() {
    if !is_concerned() {
        return;
    }
    let (lab, _blue) = V4.one_vrf();
    let _red = lab
        .vrf("RED")
        .slave("red1", "10.0.0.1/24")
        .client("10.0.0.2/24");
    let _bound = lab.listen("blue").bound_to("BLUE").tcp(V4.any(179));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let _later = lab.listen("red").bound_to("RED").tcp(V4.any(179));
    soon("the port is told", || warned(&vrfgate, 179).is_some());
}

fn clear_goes_ahead_where_it_is_accepted() {
    let (lab, _client) = V4.one_vrf();
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    let pair = share_by_reuseport(&lab, &V4, 2222);
    let output = vrfgate.call(&["clear", "--accept-shared-ports"]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(lab.sysctl(TCP), "0");
    drop(pair);
}

/// Both were bound under 1: to go back to it does no harm, and to stay at 0 would close what is listed.
fn a_sysctl_that_something_else_resets_is_set_again_though_a_port_is_shared() {
    let (lab, client) = V4.one_vrf();
    let _ssh = lab.listen("ssh").tcp(V4.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let _pair = share_by_reuseport(&lab, &V4, 179);
    if is_concerned() {
        let record = || {
            let mut cat = Command::new("sh");
            cat.arg("-c")
                .arg(format!("cat {}/*.json", vrfgate.run_dir().display()));
            lab.output(&mut cat)
        };
        soon("the pair is noted", || !record().contains("\"one\": []"));
    }
    lab.set_sysctl(TCP, "0");
    soon("the sysctl is set again", || lab.sysctl(TCP) == "1");
    client.connect(V4.main(22)).should_reach("ssh");

    if is_concerned() {
        // Bound under 0: to go back to 1 is to wait for it.
        vrfgate.terminate();
        lab.set_sysctl(TCP, "0");
        let strangers = super::share(&lab, &V4, 180, "BLUE");
        vrfgate.restart();
        let why = super::should_wait(&lab, &vrfgate);
        assert!(why.contains("TCP port 180"), "{why}");
        assert!(!why.contains("TCP port 179"), "{why}");
        drop(strangers);
        should_soon_be_in_force(&lab, &vrfgate);
        client.connect(V4.main(22)).should_reach("ssh");
    }
}

fn a_gate_that_is_taken_away_closes_at_once_though_a_port_is_shared_and_comes_back() {
    let (lab, client) = V4.one_vrf();
    let _ssh = lab.listen("ssh").tcp(V4.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let _pair = share_by_reuseport(&lab, &V4, 179);
    vrfgate.terminate();
    vrfgate.unmount_bpffs();
    assert_eq!(lab.sysctl(TCP), "1", "an open door");

    let output = vrfgate.call(&["clear"]);

    assert_eq!(lab.sysctl(TCP), "0", "{}", complaint(&output));
    let connected = client
        .netns()
        .enter(|| TcpStream::connect_timeout(&V4.main(22), std::time::Duration::from_secs(20)));
    assert!(connected.is_err(), "the door stays open");
    the_kernel_should_be_well();
}

fn warned(vrfgate: &vrfgate_e2e::Vrfgate, port: u16) -> Option<String> {
    let status = vrfgate.status();
    let warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    warnings
        .iter()
        .filter_map(|warning| warning.as_str())
        .find(|warning| warning.contains(&format!("TCP port {port} is shared by")))
        .map(str::to_owned)
}
