//! What other people and their software can do to a host while vrfgate looks after it: each is noticed, and what comes of
//! it is told. What is done to the gate itself is in `repairs`, to policy rules in `rules`, to steering in
//! `steer::changes`, to whole VRFs in `gate::changes`.

use std::{fs, net::SocketAddr, process::Command};

use vrfgate_e2e::{Bgp, Host, Lab, Outcome, Vrfgate};

use crate::{
    leaks::{leak, open_tcp},
    net::{Net, V4},
    suite::{soon, tests},
};

tests! {
    "host";
    each family:
        a_route_in_the_place_of_ours_is_told_with_who_made_it_and_ours_comes_back_after_it,
        a_route_that_wins_over_ours_is_told_with_who_made_it,
        routes_of_others_in_the_tables_of_two_vrfs_are_told_apart,
        a_route_comes_back_after_its_device_was_down,
        a_vrf_that_gets_another_table_gets_its_routes_there,
        a_slave_that_is_moved_to_another_vrf_is_judged_by_that,
        a_device_or_vrf_that_gets_another_name_is_followed;
    once:
        what_frr_leaks_into_a_vrf_does_not_win_over_ours,
        a_record_that_somebody_removes_is_written_again_and_told;
    alone:
        a_kernel_that_lists_no_udp_sockets_gets_its_gate_and_status_tells;
}

/// By a unicast route to `lo`, a packet is lost; whether the kernel says so differs from one to the next.
#[track_caller]
fn should_soon_lose(client: &Host, service: SocketAddr) {
    soon("the service is out of reach", || {
        !matches!(client.connect(service).outcome(), Outcome::Reached(_))
    });
}

/// BLUE and a client, its table asked before the local one, and a leak with routes.
fn with_routes(net: &Net, metric: &str) -> (Lab, Host, Vrfgate) {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    net.isolate(&lab);
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&routed("BLUE", net, metric));
    (lab, client, vrfgate)
}

fn routed(vrf: &str, net: &Net, metric: &str) -> String {
    leak(
        vrf,
        &format!(
            "routes: [{{prefix: \"{}\"{metric}}}], services: [{{name: ssh, protocol: TCP, port: 22}}]",
            net.main_prefix
        ),
    )
}

/// The metric that our local routes get, as `ip route` takes it.
fn default_metric(net: &Net) -> &'static str {
    if net.main.is_ipv4() { "" } else { " metric 1" }
}

fn a_route_in_the_place_of_ours_is_told_with_who_made_it_and_ours_comes_back_after_it(net: &Net) {
    let (lab, client, vrfgate) = with_routes(net, "");
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_soon_reach("ssh");
    let main = net.main;

    // The kernel tells of a new route only, of none that is gone.
    let metric = default_metric(net);
    lab.ip(&format!(
        "route replace {main} dev lo table 10 proto bgp{metric}"
    ));

    vrfgate.should_soon_tell(&format!(
        "somebody else's `{main} dev lo table 10 proto bgp"
    ));
    vrfgate.should_soon_tell("have what made it (proto bgp) leave it out");
    should_soon_lose(&client, net.main(22));

    lab.ip(&format!("route del {main} dev lo table 10 proto bgp"));
    client.connect(net.main(22)).should_soon_reach("ssh");
    soon("status tells of nobody else's", || {
        !vrfgate.status_text().contains("somebody else's")
    });
}

fn a_route_that_wins_over_ours_is_told_with_who_made_it(net: &Net) {
    let (lab, client, vrfgate) = with_routes(net, ", metric: 30");
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_soon_reach("ssh");
    let main = net.main;

    // Loses.
    lab.ip(&format!(
        "route add {main} dev lo table 10 proto bgp metric 40"
    ));
    client.connect(net.main(22)).should_reach("ssh");
    lab.ip(&format!(
        "route add {main} dev lo table 10 proto bgp metric 20"
    ));

    vrfgate.should_soon_tell(&format!(
        "somebody else's `{main} dev lo table 10 proto bgp"
    ));
    vrfgate.should_soon_tell("is used instead");
    lab.ip(&format!("route del {main} dev lo table 10 metric 20"));
    client.connect(net.main(22)).should_soon_reach("ssh");
    soon("status tells of nobody else's", || {
        !vrfgate.status_text().contains("somebody else's")
    });
}

fn routes_of_others_in_the_tables_of_two_vrfs_are_told_apart(net: &Net) {
    let lab = Lab::new();
    let clients = ["BLUE", "RED"].map(|vrf| {
        let slave = format!("{}1", vrf.to_lowercase());
        let vrf = lab.vrf(vrf);
        vrf.slave(&slave, &net.router_cidr())
            .client(&net.client_cidr())
    });
    net.put_local_table_last(&lab);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let addresses: Vec<_> = (10..30)
        .map(|last| net.add_main_address(&lab, last))
        .collect();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&(routed("BLUE", net, "") + &routed("RED", net, "")));
    for client in &clients {
        client.connect((addresses[19], 22)).should_soon_reach("ssh");
    }

    // Every other in one table, one in the other.
    let replace = |address, table: u32| {
        let metric = default_metric(net);
        lab.ip(&format!(
            "route replace {address} dev lo table {table} proto ospf{metric}"
        ));
    };
    for address in addresses.iter().step_by(2) {
        replace(*address, 10);
    }
    replace(addresses[19], 20);

    let told = |table: u32| {
        let status = vrfgate.status_text();
        let words = format!(" dev lo table {table} proto ospf");
        addresses
            .iter()
            .filter(|address| status.contains(&format!("somebody else's `{address}{words}")))
            .copied()
            .collect::<Vec<_>>()
    };
    let every_other: Vec<_> = addresses.iter().step_by(2).copied().collect();
    soon("those of the first VRF are told", || {
        told(10) == every_other
    });
    soon("those of the second VRF are told", || {
        told(20) == [addresses[19]]
    });
    clients[0].connect((addresses[19], 22)).should_reach("ssh");
    clients[1].connect((addresses[18], 22)).should_reach("ssh");
    should_soon_lose(&clients[1], (addresses[19], 22).into());
}

fn a_route_comes_back_after_its_device_was_down(net: &Net) {
    let (lab, client, _vrfgate) = with_routes(net, "");
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_soon_reach("ssh");

    // IPv6 addresses don't outlive it.
    lab.set_sysctl("net.ipv6.conf.lan.keep_addr_on_down", "1");
    lab.ip("link set lan down");
    lab.ip("link set lan up");

    client.connect(net.main(22)).should_soon_reach("ssh");
}

fn a_vrf_that_gets_another_table_gets_its_routes_there(net: &Net) {
    let (lab, client, _vrfgate) = with_routes(net, "");
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_soon_reach("ssh");
    lab.ip(
        "link del blue1\nlink del BLUE\nlink add BLUE type vrf table 77\nlink set BLUE up\n\
         route add unreachable default table 77\nroute add unreachable ::/0 table 77",
    );

    let family = net.family();
    let main = net.main.to_string();
    let table =
        |number: u32| lab.ip_shows(&format!("{family} route show table {number} proto 118"));
    soon("the route is in the new table", || {
        table(77).contains(&main)
    });
    // `ip` fails for a table without a route.
    soon("the route is not in the old table", || {
        !lab.routing()
            .contains(&format!("local {main} dev lan table 10"))
    });
}

fn a_slave_that_is_moved_to_another_vrf_is_judged_by_that(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _red = lab.vrf("RED");
    lab.ip(&net.leak_route(20));
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&(open_tcp("BLUE", net, &[22]) + &open_tcp("RED", net, &[80])));
    client.connect(net.main(22)).should_reach("ssh");
    client.connect(net.main(80)).should_be_refused();

    lab.ip("link set blue1 master RED");
    // The kernel takes global IPv6 addresses away.
    for address in net.router_cidr().split_whitespace() {
        let flags = if address.contains(':') { "nodad" } else { "" };
        let _ = lab.ip_shows(&format!("address replace {address} dev blue1 {flags}"));
    }

    client.connect(net.main(80)).should_soon_reach("web");
    client.connect(net.main(22)).should_soon_be_refused();
}

fn a_device_or_vrf_that_gets_another_name_is_followed(net: &Net) {
    let (lab, client, vrfgate) = with_routes(net, "");
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    client.connect(net.main(22)).should_soon_reach("ssh");

    lab.set_sysctl("net.ipv6.conf.lan.keep_addr_on_down", "1");
    lab.ip("link set lan down\nlink set lan name wan\nlink set wan up");
    vrfgate.should_soon_tell(&format!("local {} dev wan table 10", net.main));
    client.connect(net.main(22)).should_soon_reach("ssh");

    lab.ip("link set BLUE down\nlink set BLUE name GREEN\nlink set GREEN up");
    vrfgate.should_soon_tell("waits for VRF BLUE");
    lab.ip("link set GREEN down\nlink set GREEN name BLUE\nlink set BLUE up");
    soon("the leak is in force again", || {
        !vrfgate.status_text().contains("waits for VRF BLUE")
    });
}

fn what_frr_leaks_into_a_vrf_does_not_win_over_ours() {
    let net = &V4;
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", "10.0.0.1/24 2001:db8:b::1/64")
        .client("10.0.0.2/24 2001:db8:b::2/64");
    for command in ["add pref 32765 lookup local", "del pref 0"] {
        for family in ["-4", "-6"] {
            let _ = lab.ip_shows(&format!("{family} rule {command}"));
        }
    }
    lab.ip("route add unreachable default table 10\nroute add unreachable ::/0 table 10");
    lab.ip("address add 198.51.100.1/32 dev lo\naddress add 2001:db8:10::1/128 dev lo nodad");
    let _ssh = lab.listen("ssh").tcp("[::]:22");
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&leak(
        "BLUE",
        "routes: [{prefix: 198.51.100.0/24}, {prefix: \"2001:db8:10::/64\"}], \
         services: [{name: ssh, protocol: TCP, port: 22}]",
    ));
    let services = ["198.51.100.1:22", "[2001:db8:10::1]:22"];
    for service in services {
        client.connect(service).should_soon_reach("ssh");
    }

    let family = |family: &str| {
        format!(
            " address-family {family} unicast\n  redistribute connected\n exit-address-family\n"
        )
    };
    let import = |family: &str| {
        format!(" address-family {family} unicast\n  import vrf default\n exit-address-family\n")
    };
    let bgp = Bgp::start_routing(
        &lab,
        &format!(
            "router bgp 65001\n bgp router-id 192.0.2.1\n{}{}exit\n\
             router bgp 65001 vrf BLUE\n bgp router-id 192.0.2.1\n{}{}exit\n",
            family("ipv4"),
            family("ipv6"),
            import("ipv4"),
            import("ipv6"),
        ),
    );
    for (family, address) in [("-4", "198.51.100.1"), ("-6", "2001:db8:10::1")] {
        soon(format!("FRR leaks {address}\n{}", bgp.story()), || {
            lab.ip_shows(&format!("{family} route show table 10 proto bgp"))
                .contains(address)
        });
    }

    for service in services {
        client.connect(service).should_reach("ssh");
    }
    let status = vrfgate.status_text();
    assert!(!status.contains("somebody else's"), "{status}");
    should_soon_lose(&client, net.main(22));
}

fn a_record_that_somebody_removes_is_written_again_and_told() {
    let (lab, _client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let record = vrfgate
        .run_dir()
        .join(format!("{}.json", lab.netns().inode()));
    assert!(record.exists(), "{}", record.display());

    fs::remove_file(&record).expect("removing the record");

    vrfgate.should_soon_tell("the gate's record had been removed; wrote it again");
    assert!(record.exists());
    // It still knows what the sysctls were.
    vrfgate.terminate();
    vrfgate.clear();
    assert_eq!(lab.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
}

/// What the kernel runs to load a module.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";

/// No module is loaded on demand while it lives, and `udp_diag` is not loaded.
struct NoUdpDiag {
    modprobe: String,
}

impl NoUdpDiag {
    fn new() -> Self {
        let modprobe = fs::read_to_string(MODPROBE).expect("kernel.modprobe");
        fs::write(MODPROBE, "/bin/false").expect("kernel.modprobe");
        let nobody = Self { modprobe };
        let mut removed = Command::new("modprobe");
        let removed = removed.args(["-r", "udp_diag"]).status();
        assert!(
            removed.is_ok_and(|status| status.success()),
            "modprobe -r udp_diag"
        );
        nobody
    }
}

impl Drop for NoUdpDiag {
    fn drop(&mut self) {
        let _ = fs::write(MODPROBE, &self.modprobe);
    }
}

fn a_kernel_that_lists_no_udp_sockets_gets_its_gate_and_status_tells() {
    let (lab, client) = V4.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(V4.any(22)),
        lab.listen("web").tcp(V4.any(80)),
    ];
    let _nobody = NoUdpDiag::new();
    let mut vrfgate = lab.vrfgate();

    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));

    client.connect(V4.main(22)).should_reach("ssh");
    client.connect(V4.main(80)).should_be_refused();
    vrfgate.should_soon_tell("the kernel lists no UDP sockets: it has no udp_diag");
    // Tracing programs tell of those that come later.
    let _dns = lab.listen("dns").bound_to("BLUE").udp(V4.any(53));
    client.ask(V4.router(53)).should_soon_reach("dns");
}
