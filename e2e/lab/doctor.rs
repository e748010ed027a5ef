//! What `vrfgate doctor` reports about routing, each family on its own.

use vrfgate_e2e::{Lab, Vrfgate};

use crate::{
    net::{Net, V4},
    suite::tests,
};

tests! {
    "doctor";
    each family:
        the_order_of_rules_is_told_of_each_family,
        a_vrf_whose_table_does_not_end_look_ups_is_told_with_what_ends_them;
    once:
        routes_for_some_addresses_end_no_look_up_for_others;
}

fn doctor(vrfgate: &Vrfgate) -> String {
    String::from_utf8_lossy(&vrfgate.call(&["doctor"]).stdout).into_owned()
}

const fn name(net: &Net) -> &'static str {
    if net.main.is_ipv4() { "IPv4" } else { "IPv6" }
}

const fn other_name(net: &Net) -> &'static str {
    if net.main.is_ipv4() { "IPv6" } else { "IPv4" }
}

fn the_order_of_rules_is_told_of_each_family(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let vrfgate = lab.vrfgate();
    let before = |family| format!("{family}: the local table comes before the VRFs' tables");
    let after = |family| format!("{family}: the local table comes after the VRFs' tables");
    let said = doctor(&vrfgate);
    assert!(
        said.contains(&before(name(net))) && said.contains(&before(other_name(net))),
        "{said}"
    );

    net.put_local_table_last(&lab);

    let said = doctor(&vrfgate);
    assert!(
        said.contains(&after(name(net))) && said.contains(&before(other_name(net))),
        "{said}"
    );
}

/// What it reports about BLUE's table.
fn open_end(net: &Net) -> String {
    format!(
        "{}: nothing ends look-ups in table 10 of VRF BLUE",
        name(net)
    )
}

#[track_caller]
fn is_told(lab: &Lab, net: &Net, told: bool) {
    let said = doctor(&lab.vrfgate());
    assert_eq!(
        said.contains(&open_end(net)),
        told,
        "{said}\n{}",
        lab.routing()
    );
}

fn a_vrf_whose_table_does_not_end_look_ups_is_told_with_what_ends_them(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let family = net.family();
    is_told(&lab, net, true);
    let said = doctor(&lab.vrfgate());
    let word = if net.main.is_ipv4() { "ip" } else { "ip -6" };
    for table in [10, 20] {
        let cure = format!("{word} route add unreachable default metric 4278198272 table {table}");
        assert!(said.contains(&cure), "{said}");
    }

    for ending in [
        "unreachable default metric 4278198272",
        "blackhole default",
        "prohibit default",
        &format!("default via {}", net.client),
    ] {
        let _ = lab.ip_shows(&format!("{family} route add {ending} table 10"));
        is_told(&lab, net, false);
        let said = doctor(&lab.vrfgate());
        assert!(said.contains("in table 20 of VRF RED"), "{said}");
        let _ = lab.ip_shows(&format!("{family} route del {ending} table 10"));
        is_told(&lab, net, true);
    }
    let _ = lab.ip_shows(&format!("{family} route add throw default table 10"));
    is_told(&lab, net, true);

    let _ = lab.ip_shows(&format!("{family} rule add pref 2000 l3mdev unreachable"));
    let said = doctor(&lab.vrfgate());
    assert!(
        !said.contains(&format!("{}: nothing ends", name(net))),
        "{said}"
    );
}

fn routes_for_some_addresses_end_no_look_up_for_others() {
    let (lab, _client) = V4.one_vrf();
    for prefix in ["240.0.0.0/4", "192.0.0.0/24"] {
        lab.ip(&format!("route add unreachable {prefix} table 10"));
    }
    lab.ip("route add 255.255.255.254 via 10.0.0.2 table 10");
    lab.ip("route add default via 192.0.2.254 dev lan");
    is_told(&lab, &V4, true);
}
