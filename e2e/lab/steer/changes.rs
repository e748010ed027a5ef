//! VRFs and clients that come and go, and changes by other programs.

use super::{DNS, both, nft, ruleset_and_rules, steering, two_vrfs};
use crate::{
    leaks::leak,
    net::{Net, routing},
    suite::tests,
};

tests! {
    "steer";
    each family:
        clear_leaves_tables_and_rules_as_they_were,
        a_client_that_keeps_its_port_is_answered_before_and_after_steering,
        a_killed_vrfgate_steers_on_and_the_next_changes_nothing,
        a_vrf_keeps_its_mark_while_others_come_and_go,
        what_somebody_removed_is_put_right;
}

fn clear_leaves_tables_and_rules_as_they_were(net: &Net) {
    let (lab, _blue, _red) = two_vrfs(net);
    let _ = nft(&lab, "add table inet theirs");
    let _ = nft(
        &lab,
        "add chain inet theirs output { type filter hook output priority 0 ; }",
    );
    lab.ip("rule add pref 950 fwmark 0x10000/0x10000 lookup main");
    let (before, routes) = (ruleset_and_rules(&lab), routing(&lab));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&both(net));
    vrfgate.should_say(ALL_DONE);
    vrfgate.terminate();
    assert_ne!(ruleset_and_rules(&lab), before, "nothing was made");

    vrfgate.clear();

    assert_eq!(ruleset_and_rules(&lab), before);
    assert_eq!(routing(&lab), routes);
}

/// The kernel remembers connections for minutes, in which a question must not be taken for an older one.
fn a_client_that_keeps_its_port_is_answered_before_and_after_steering(net: &Net) {
    let (lab, blue, _red) = two_vrfs(net);
    let _ntp = lab.listen("ntp").udp(net.main(53));
    let _ = nft(&lab, "add table inet theirs");
    let _ = nft(
        &lab,
        "add chain inet theirs output { type filter hook output priority 0 ; }",
    );
    // Another program tracks connections, too.
    let _ = nft(&lab, "add rule inet theirs output ct state invalid counter");
    let routed = leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{}\"}}], services: [{DNS}], \
             returnRoutes: [{{prefix: \"{}\", source: \"{}\"}}]",
            net.main_prefix, net.clients, net.main
        ),
    );
    let vrfgate = lab.vrfgate();
    for leaks in [&routed, &steering("BLUE", net, DNS), &routed] {
        vrfgate.apply(leaks);
        blue.ask(net.main(53)).from_port(123).should_reach("ntp");
    }
}

fn a_killed_vrfgate_steers_on_and_the_next_changes_nothing(net: &Net) {
    let (lab, blue, red) = two_vrfs(net);
    let _dns = lab.listen("dns").udp(net.main(53));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&both(net));
    vrfgate.should_say(ALL_DONE);
    vrfgate.kill();
    for client in [&blue, &red] {
        client.ask(net.main(53)).should_reach("dns");
    }
    let before = handles(&lab);

    vrfgate.restart();
    vrfgate.should_say(ALL_DONE);

    for client in [&blue, &red] {
        client.ask(net.main(53)).should_reach("dns");
    }
    assert_eq!(handles(&lab), before);
}

/// What vrfgate says last when it starts.
const ALL_DONE: &str = "is in force in VRF RED";

/// Each rule and its number, which a new rule never shares with an old one.
fn handles(lab: &vrfgate_e2e::Lab) -> String {
    nft(lab, "--handle list table inet vrfgate") + &lab.ip_shows("rule")
}

fn a_vrf_keeps_its_mark_while_others_come_and_go(net: &Net) {
    let (lab, _blue, red) = two_vrfs(net);
    let _dns = lab.listen("dns").udp(net.main(53));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&both(net));
    let mark = || {
        let status = vrfgate.status();
        let vrfs = status["steering"]["vrfs"].as_array().cloned();
        let red = vrfs.and_then(|vrfs| vrfs.into_iter().find(|vrf| vrf["vrf"] == "RED"));
        red.unwrap_or_else(|| panic!("RED is not steered: {status}"))["mark"].clone()
    };
    let before = mark();

    vrfgate.apply(&steering("RED", net, DNS));
    assert_eq!(mark(), before);
    red.ask(net.main(53)).should_reach("dns");

    vrfgate.apply(&both(net));
    assert_eq!(mark(), before);
    red.ask(net.main(53)).should_reach("dns");
}

fn what_somebody_removed_is_put_right(net: &Net) {
    let (lab, blue, _red) = two_vrfs(net);
    let _dns = lab.listen("dns").udp(net.main(53));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&both(net));
    blue.ask(net.main(53)).should_soon_reach("dns");

    for command in [
        "flush chain inet vrfgate answers",
        "flush chain inet vrfgate questions",
        "flush ruleset",
        "delete table inet vrfgate",
    ] {
        let _ = nft(&lab, command);
        blue.ask(net.main(53)).should_soon_reach("dns");
    }
    let family = net.family();
    for _ in ["BLUE", "RED"] {
        let _ = lab.ip_shows(&format!("{family} rule del pref 900"));
    }
    blue.ask(net.main(53)).should_soon_reach("dns");
    // As scripts of administrators do it: away with everything, then what they know of.
    for command in [
        "rule flush",
        "rule add pref 32766 lookup main",
        "rule add pref 1000 l3mdev",
    ] {
        let _ = lab.ip_shows(&format!("{family} {command}"));
    }
    blue.ask(net.main(53)).should_soon_reach("dns");
    vrfgate.should_say("repaired it");
}
