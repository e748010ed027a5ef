//! From leaks and facts to decisions, as a user of the module sees it.

mod conflicts;
mod decide;
mod expansion;
mod fleet;
mod host;
mod prefixes;
mod properties;
mod routes;
mod rules;
mod slaves;
mod steer;
mod waiting;

use std::net::IpAddr;

use self::host::Host;
use super::{
    Decision, Desired, InForce, Leak, Link, LinkKind, LocalAddress, LocalPrefix, Mode, NodeFacts,
    Packet, PortRange, Protocol, RefuseReason, Replies, RuleSet, Service, compile,
};

/// A leak that opens nothing yet.
fn leak(name: &str, vrf: &str) -> Leak {
    Leak {
        name: name.parse().unwrap(),
        vrf: vrf.parse().unwrap(),
        mode: Mode::Enforce,
        routes: Vec::new(),
        return_routes: Vec::new(),
        replies: Replies::Route,
        services: Vec::new(),
    }
}

/// A TCP service on one port, open to every client.
fn tcp(name: &str, port: u16, addresses: &[&str]) -> Service {
    Service {
        name: name.parse().unwrap(),
        protocol: Protocol::Tcp,
        ports: ports(port, port),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        sources: Vec::new(),
    }
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first.try_into().unwrap(), last.try_into().unwrap()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A TCP packet from 10.0.0.2 that came in through `ingress`.
fn packet(ingress: u32, local: &str, local_port: u16) -> Packet {
    Packet {
        ingress,
        protocol: Protocol::Tcp,
        local: ip(local),
        local_port,
        remote: ip("10.0.0.2"),
    }
}

/// The decision where nothing was open before the gate, and nobody listens inside a VRF.
fn decide(rules: &RuleSet, packet: Packet) -> Decision<'_> {
    InForce::from(rules).decide(packet)
}

fn passes(desired: &Desired, packet: Packet) -> bool {
    matches!(
        decide(&desired.rule_set().unwrap(), packet),
        Decision::Pass(_)
    )
}
