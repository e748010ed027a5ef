//! vrfgate's processes come and go; the gate and open connections stay.

use serde_json::Value;
use vrfgate_e2e::{Lab, Vrfgate, complaint};

use crate::{leaks::open_tcp, net::Net, suite::tests};

tests! {
    "state";
    each family:
        open_connections_survive_edit_kill_restart_and_clear,
        the_gate_goes_on_deciding_after_sigkill,
        sigterm_leaves_the_gate_working,
        a_restart_adopts_the_gate_and_its_counters,
        a_restart_follows_what_changed_while_nobody_looked;
    once:
        a_second_vrfgate_for_the_same_namespace_is_refused_and_told_of_the_first;
}

fn open_connections_survive_edit_kill_restart_and_clear(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    let mut session = client.talk_to(net.main(22));

    vrfgate.write(&open_tcp("BLUE", net, &[23]));
    client.connect(net.main(22)).should_soon_be_refused();
    session.should_be_alive();

    vrfgate.kill();
    session.should_be_alive();

    vrfgate.restart();
    session.should_be_alive();

    vrfgate.kill();
    vrfgate.clear();
    client.connect(net.main(22)).should_be_refused();
    session.should_be_alive();
}

fn the_gate_goes_on_deciding_after_sigkill(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    vrfgate.kill();

    client.connect(net.main(22)).should_reach("ssh");
    client.connect(net.main(80)).should_be_refused();
}

fn sigterm_leaves_the_gate_working(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    vrfgate.terminate();

    client.connect(net.main(22)).should_reach("ssh");
    client.connect(net.main(80)).should_be_refused();
}

fn a_restart_adopts_the_gate_and_its_counters(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    client.connect(net.main(22)).should_reach("ssh");
    let before = vrfgate.status();

    vrfgate.kill();
    client.connect(net.main(22)).should_reach("ssh");
    vrfgate.restart();
    client.connect(net.main(22)).should_reach("ssh");

    let after = vrfgate.status();
    assert_eq!(
        before["gate"]["programId"], after["gate"]["programId"],
        "another program"
    );
    // Two more connections; look-ups are counted, and of those a connection may cause more than one.
    let (before, after) = (let_in(&before), let_in(&after));
    assert!(
        before >= Some(1) && after >= before.map(|count| count + 2),
        "{before:?} {after:?}"
    );
}

fn a_restart_follows_what_changed_while_nobody_looked(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    vrfgate.kill();
    vrfgate.write(&open_tcp("BLUE", net, &[80]));
    client.connect(net.main(22)).should_reach("ssh");

    vrfgate.restart();

    client.connect(net.main(80)).should_soon_reach("web");
    client.connect(net.main(22)).should_soon_be_refused();
}

fn a_second_vrfgate_for_the_same_namespace_is_refused_and_told_of_the_first() {
    let lab = Lab::new();
    let mut vrfgate: Vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &crate::net::V4, &[22]));

    let second = vrfgate.run_once();

    assert!(!second.status.success());
    let complaint = complaint(&second);
    assert!(
        complaint.contains(&vrfgate.pid().to_string()),
        "{complaint}"
    );
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

/// How many look-ups the first rule of the first VRF has let in.
fn let_in(status: &Value) -> Option<u64> {
    status["gate"]["vrfs"][0]["rules"][0]["hits"]["passed"].as_u64()
}
