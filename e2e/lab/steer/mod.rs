//! `replies: Steer`: answers of unmodified UDP servers find back into the VRF that asked, even where two VRFs
//! have clients of the very same address.

mod changes;
mod dns;
mod overlap;
mod surroundings;

use libtest_mimic::Trial;
use std::process::Command;
use vrfgate_e2e::{Host, Lab};

use crate::{leaks::leak, net::Net};

/// Every test of the group.
pub fn tests() -> Vec<Trial> {
    [
        overlap::tests(),
        changes::tests(),
        surroundings::tests(),
        dns::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A router with VRFs BLUE and RED, and a client of the same address in each. Its main table knows no route
/// to them but the default.
fn two_vrfs(net: &Net) -> (Lab, Host, Host) {
    let lab = Lab::new();
    let [blue, red] = [("BLUE", "blue1"), ("RED", "red1")].map(|(vrf, slave)| {
        lab.vrf(vrf)
            .slave(slave, &net.router_cidr())
            .client(&net.client_cidr())
    });
    let gateway = if net.main.is_ipv4() {
        "192.0.2.254"
    } else {
        "2001:db8:1::fe"
    };
    lab.ip(&format!("route add default via {gateway} dev lan"));
    (lab, blue, red)
}

/// A leak of the main address that steers, with services.
fn steering(vrf: &str, net: &Net, services: &str) -> String {
    leak(
        vrf,
        &format!(
            "replies: Steer, routes: [{{prefix: \"{}\"}}], services: [{services}]",
            net.main_prefix
        ),
    )
}

const DNS: &str = "{name: dns, protocol: UDP, port: 53}";

/// UDP port 53 of the main address for both VRFs.
fn both(net: &Net) -> String {
    steering("BLUE", net, DNS) + &steering("RED", net, DNS)
}

fn nft(lab: &Lab, command: &str) -> String {
    lab.output(Command::new("nft").args(command.split(' ')))
}

/// Everything that `replies: Steer` could leave behind.
fn ruleset_and_rules(lab: &Lab) -> String {
    [
        nft(lab, "list ruleset"),
        lab.ip_shows("-4 rule"),
        lab.ip_shows("-6 rule"),
    ]
    .join("\n")
}
