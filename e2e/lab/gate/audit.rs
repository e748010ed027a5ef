//! What the gate counts, what it lets pass on purpose, and what it leaves as it was.

use serde_json::Value;
use vrfgate_e2e::Vrfgate;

use crate::{
    leaks::{leak, open_tcp, service},
    net::Net,
    suite::tests,
};

tests! {
    "gate";
    each family:
        audit_refuses_nothing_and_counts_what_it_would_refuse,
        what_is_let_in_and_what_is_refused_is_counted,
        a_vrf_that_no_leak_names_is_closed_where_the_sysctl_was_0,
        a_vrf_that_no_leak_names_is_open_where_the_sysctl_was_1;
}

const MANY: u64 = 6;

fn audit_refuses_nothing_and_counts_what_it_would_refuse(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&leak(
        "BLUE",
        &format!("mode: Audit, services: [{}]", service(net, "TCP", 22)),
    ));
    for _ in 0..MANY {
        client.connect(net.main(22)).should_reach("ssh");
        client.connect(net.main(80)).should_reach("web");
    }

    let blue = blue_of(&vrfgate);
    each_counts_once(&blue["hits"]["wouldRefuse"]);
    assert_eq!(blue["hits"]["refused"], 0, "{blue:#}");
    each_counts_once(&blue["rules"][0]["hits"]["passed"]);
}

fn what_is_let_in_and_what_is_refused_is_counted(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    for _ in 0..MANY {
        client.connect(net.main(22)).should_reach("ssh");
        client.connect(net.main(80)).should_be_refused();
    }

    let blue = blue_of(&vrfgate);
    each_counts_once(&blue["hits"]["refused"]);
    each_counts_once(&blue["rules"][0]["hits"]["passed"]);
}

fn a_vrf_that_no_leak_names_is_closed_where_the_sysctl_was_0(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", net, &[22]));

    blue.connect(net.main(22)).should_reach("ssh");
    red.connect(net.main(22)).should_be_refused();
}

fn a_vrf_that_no_leak_names_is_open_where_the_sysctl_was_1(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _web = lab.listen("web").tcp(net.any(80));
    lab.accept_l3mdev(true);
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&open_tcp("BLUE", net, &[22]));

    blue.connect(net.main(80)).should_be_refused();
    red.connect(net.main(22)).should_reach("ssh");
    red.connect(net.main(80)).should_reach("web");
}

/// Look-ups are counted: a SYN that is sent again on a slow machine is one more, and so is a segment
/// that comes after its connection has ended.
fn each_counts_once(count: &Value) {
    let counted = count.as_u64().unwrap_or_default();
    assert!(
        (MANY..2 * MANY).contains(&counted),
        "{MANY} attempts were counted as {count}"
    );
}

fn blue_of(vrfgate: &Vrfgate) -> Value {
    let status = vrfgate.status();
    let vrfs = status["gate"]["vrfs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let blue = vrfs.into_iter().find(|vrf| vrf["name"] == "BLUE");
    blue.unwrap_or_else(|| panic!("status knows no BLUE: {status:#}"))
}
