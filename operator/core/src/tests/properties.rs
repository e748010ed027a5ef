//! What holds for every host and every set of leaks.

use std::net::IpAddr;

use proptest::{collection::vec, prelude::*};

use super::{
    Decision, Host, Leak, Link, LocalAddress, Mode, NodeFacts, Packet, Protocol, Service, compile,
    decide, ip, leak, passes, ports, tcp,
};
use crate::{PassReason, Prefix, check_set};

const VRFS: [&str; 2] = ["BLUE", "RED"];
const PREFIXES: [&str; 10] = [
    "192.0.2.0/24",
    "192.0.2.1/32",
    "198.51.100.0/25",
    "0.0.0.0/0",
    "2001:db8::/32",
    "::/0",
    "168.0.0.0/6",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fe80::/10",
];
const ADDRESSES: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.1",
    "198.51.100.200",
    "2001:db8::1",
    "2001:db9::1",
    "127.0.0.1",
    "169.254.20.10",
    "fe80::1",
];
const CLIENTS: [&str; 3] = ["10.0.0.2", "10.9.0.2", "2001:db8:c::2"];
const SOURCES: [&str; 3] = ["10.0.0.0/24", "10.0.0.0/8", "2001:db8:c::/48"];

/// Two VRFs with a slave each, and a main device; addresses strewn over all of them.
fn facts() -> impl Strategy<Value = NodeFacts> {
    vec((0..ADDRESSES.len(), 1u32..=5), 0..10).prop_map(|placed| {
        let mut host = Host::default()
            .device("lan")
            .vrf("BLUE")
            .slave("blue1", "BLUE")
            .vrf("RED")
            .slave("red1", "RED");
        host.facts_mut().addresses = placed
            .into_iter()
            .map(|(address, ifindex)| LocalAddress {
                ifindex,
                address: ip(ADDRESSES[address]),
            })
            .collect();
        host.facts().clone()
    })
}

fn service(number: usize) -> impl Strategy<Value = Service> {
    (
        any::<bool>(),
        1u16..10,
        0u16..5,
        vec(0..PREFIXES.len(), 1..3),
        vec(0..SOURCES.len(), 0..3),
    )
        .prop_map(move |(udp, first, more, addresses, sources)| Service {
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            ports: ports(first, first + more),
            addresses: addresses
                .into_iter()
                .map(|index| PREFIXES[index].parse().unwrap())
                .collect(),
            sources: sources
                .into_iter()
                .map(|index| SOURCES[index].parse().unwrap())
                .collect(),
            ..tcp(&format!("s{number}"), 1, &[])
        })
}

/// Leaks that go together: what contradicts those before it is left out.
fn leaks() -> impl Strategy<Value = Vec<Leak>> {
    let one = (0..VRFS.len(), any::<bool>(), service(0), service(1));
    vec(one, 0..8).prop_map(|candidates| {
        let mut leaks = Vec::new();
        for (number, (vrf, audit, first, second)) in candidates.into_iter().enumerate() {
            let mut services = vec![first, second];
            if services[0].overlap(&services[1]).is_some() {
                services.pop();
            }
            leaks.push(Leak {
                mode: if audit { Mode::Audit } else { Mode::Enforce },
                services,
                ..leak(&format!("leak-{number}"), VRFS[vrf])
            });
            if !check_set(&leaks).is_empty() {
                leaks.pop();
            }
        }
        leaks
    })
}

fn packets() -> impl Strategy<Value = Packet> {
    (
        1u32..=5,
        any::<bool>(),
        0..ADDRESSES.len(),
        0u16..16,
        0..CLIENTS.len(),
    )
        .prop_map(|(ingress, udp, local, local_port, client)| Packet {
            ingress,
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            local: ip(ADDRESSES[local]),
            local_port,
            remote: ip(CLIENTS[client]),
        })
}

/// The VRF that a packet came through: a slave is shown by IPv4 packets that the host sends to itself.
fn vrf_of(facts: &NodeFacts, packet: Packet) -> Option<&Link> {
    let shown = &facts.links[packet.ingress as usize - 1];
    let master = shown.master.filter(|_| packet.local.is_ipv4());
    let link = master.map_or(shown, |master| &facts.links[master as usize - 1]);
    link.is_vrf().then_some(link)
}

/// Of loopback and link-local addresses, only a prefix that lies among them speaks.
fn means(prefix: Prefix, address: IpAddr) -> bool {
    let kept = ["127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"];
    let kept = kept.map(|range| range.parse::<Prefix>().unwrap());
    prefix.contains(address)
        && kept
            .iter()
            .filter(|range| range.contains(address))
            .all(|range| range.covers(prefix))
}

/// Whether some leak opens `packet`'s port to it, read off the leaks without compiling them.
fn is_listed(leaks: &[Leak], facts: &NodeFacts, packet: Packet) -> bool {
    let Some(vrf) = vrf_of(facts, packet) else {
        return false;
    };
    // Links 1 (main), and the VRF with the slave that follows it.
    let reachable = [1, vrf.ifindex, vrf.ifindex + 1];
    let is_here = facts
        .addresses
        .iter()
        .any(|held| held.address == packet.local && reachable.contains(&held.ifindex));
    let opens = |service: &Service| {
        service.protocol == packet.protocol
            && service.ports.contains(packet.local_port)
            && service
                .addresses
                .iter()
                .any(|prefix| means(*prefix, packet.local))
            && (service.sources.is_empty()
                || service
                    .sources
                    .iter()
                    .any(|prefix| prefix.contains(packet.remote)))
    };
    is_here
        && leaks
            .iter()
            .filter(|leak| leak.vrf.as_str() == vrf.name)
            .any(|leak| leak.services.iter().any(opens))
}

proptest! {
    #[test]
    fn what_is_listed_gets_in_and_nothing_else(
        facts in facts(),
        leaks in leaks(),
        packets in vec(packets(), 64),
    ) {
        let rules = compile(&leaks, &facts).rule_set().unwrap();
        for packet in packets {
            let vrf = vrf_of(&facts, packet);
            match decide(&rules, packet) {
                Decision::Pass(PassReason::NotVrf) => prop_assert_eq!(vrf, None),
                Decision::Pass(PassReason::Rule(_)) => {
                    prop_assert!(is_listed(&leaks, &facts, packet));
                }
                Decision::Pass(reason @ (PassReason::AsBefore | PassReason::Listener { .. })) => {
                    prop_assert!(false, "nothing was open, and nobody listens: {reason:?}");
                }
                Decision::Pass(PassReason::Audit(_)) => {
                    prop_assert!(!is_listed(&leaks, &facts, packet));
                    let name = &vrf.unwrap().name;
                    prop_assert!(leaks.iter().filter(|leak| leak.vrf.as_str() == name)
                        .all(|leak| leak.mode == Mode::Audit));
                }
                Decision::Refuse(_) => {
                    prop_assert!(vrf.is_some() && !is_listed(&leaks, &facts, packet));
                }
            }
        }
    }

    #[test]
    fn the_order_of_facts_does_not_matter(facts in facts(), leaks in leaks()) {
        let mut shuffled = facts.clone();
        shuffled.links.reverse();
        shuffled.addresses.reverse();
        prop_assert_eq!(compile(&leaks, &facts), compile(&leaks, &shuffled));
    }

    #[test]
    fn one_more_leak_never_closes_what_another_opens(
        facts in facts(),
        leaks in leaks(),
        packet in packets(),
    ) {
        let listed = |leaks: &[Leak]| {
            let rules = compile(leaks, &facts).rule_set().unwrap();
            matches!(decide(&rules, packet), Decision::Pass(PassReason::Rule(_)))
        };
        if let Some((_, fewer)) = leaks.split_last() && listed(fewer) {
            prop_assert!(listed(&leaks));
            prop_assert!(passes(&compile(&leaks, &facts), packet));
        }
    }
}
