//! A network namespace of the test's own, with a store of its own. Everything goes away with the value.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut, RangeInclusive},
};

use vrfgate_core::{Opening, PortRange, Posture, Protocol, Rule, RuleSet, Vrf};
use vrfgate_ebpf::{Capacity, Error, Gate, Netns, Store, TestPacket};

pub struct Sandbox {
    pub store: Store,
    place: vrfgate_sandbox::Sandbox,
}

impl Deref for Sandbox {
    type Target = vrfgate_sandbox::Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.place
    }
}

impl DerefMut for Sandbox {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.place
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let place = vrfgate_sandbox::Sandbox::new("ebpf");
        place.netns().bring_up("lo");
        Self {
            store: Store::new(place.bpffs(), place.run_dir()),
            place,
        }
    }

    pub fn netns(&self) -> Netns {
        Netns::open(self.name()).unwrap()
    }

    pub fn attach(&self, rules: &RuleSet) -> Gate {
        self.try_attach(rules).unwrap()
    }

    pub fn try_attach(&self, rules: &RuleSet) -> Result<Gate, Error> {
        Gate::attach(&self.store, self.netns(), rules, &Capacity::default())
    }

    pub fn open(&self) -> Result<Option<Gate>, Error> {
        Gate::open(&self.store, self.netns())
    }

    pub fn sysctl(&self, protocol: &str) -> bool {
        let value = self.place.netns().sysctl(&l3mdev_accept(protocol));
        value.unwrap() == "1"
    }

    pub fn set_sysctl(&self, protocol: &str, value: bool) {
        let value = if value { "1" } else { "0" };
        let netns = self.place.netns();
        netns.set_sysctl(&l3mdev_accept(protocol), value);
    }
}

fn l3mdev_accept(protocol: &str) -> String {
    format!("net.ipv4.{protocol}_l3mdev_accept")
}

/// A rule with the least that a rule needs; the rest by struct update.
pub fn rule(
    name: &str,
    protocol: Protocol,
    ports: RangeInclusive<u16>,
    addresses: &[&str],
) -> Rule {
    Rule::new(name, opening(protocol, ports, addresses))
}

/// Ports, both ends included.
pub fn ports(range: RangeInclusive<u16>) -> PortRange {
    range.try_into().unwrap()
}

/// Ports of addresses.
pub fn opening(protocol: Protocol, range: RangeInclusive<u16>, addresses: &[&str]) -> Opening {
    Opening {
        protocol,
        ports: ports(range),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        prefixes: Vec::new(),
    }
}

/// The rule, on these addresses instead.
pub fn on_addresses(mut rule: Rule, addresses: impl IntoIterator<Item = IpAddr>) -> Rule {
    rule.opens[0].addresses = addresses.into_iter().collect();
    rule
}

/// The rule, on these prefixes as well.
pub fn on_prefixes(mut rule: Rule, prefixes: &[&str]) -> Rule {
    rule.opens[0].prefixes = prefixes.iter().map(|net| net.parse().unwrap()).collect();
    rule
}

pub fn from_sources(rule: Rule, sources: &[&str]) -> Rule {
    Rule {
        sources: sources.iter().map(|net| net.parse().unwrap()).collect(),
        ..rule
    }
}

/// VRF device number `ifindex` with these rules.
pub fn vrf(ifindex: u32, posture: Posture, rules: Vec<Rule>) -> RuleSet {
    vrfs([(ifindex, "BLUE", posture, rules)], &[])
}

/// VRF devices by number, each with a name and rules, and their slaves.
pub fn vrfs<const N: usize>(
    vrfs: [(u32, &str, Posture, Vec<Rule>); N],
    slaves: &[(u32, u32)],
) -> RuleSet {
    let vrfs = vrfs.into_iter().map(|(ifindex, name, posture, rules)| {
        let name = name.into();
        let vrf = Vrf {
            name,
            posture,
            rules,
        };
        (ifindex, vrf)
    });
    RuleSet::new(vrfs.collect(), slaves.iter().copied().collect()).unwrap()
}

/// A packet as the kernel would show it to the program.
pub fn packet(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> TestPacket {
    let mut packet = TestPacket {
        family: 10,
        protocol: protocol.number().into(),
        remote_port: remote.port().to_be(),
        local_port: local.port().into(),
        ..TestPacket::default()
    };
    match (local.ip(), remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            packet.family = 2;
            packet.local_ip4 = u32::from_ne_bytes(local.octets());
            packet.remote_ip4 = u32::from_ne_bytes(remote.octets());
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            packet.local_ip6 = words(local.octets());
            packet.remote_ip6 = words(remote.octets());
        }
        _ => panic!("a packet has one family"),
    }
    packet
}

fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().unwrap());
    }
    words
}
