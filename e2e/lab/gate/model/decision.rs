//! Core's decision, which `vrfgate explain` shows, held against the oracle's on the same rules, listeners and packets.
//!
//! The rules are the model's own, and not what vrfgate makes of leaks. Numbers of devices are made up: this is about no
//! kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vrfgate_core::{
    Decision, InForce, OpenSocket, Opening, Packet as Shown, PassReason, Posture, RefuseReason,
    Rule, RuleSet, Vrf,
};

use super::{
    Protocol,
    listeners::{Bound, Listener, On},
    oracle::{Foretold, kernels_choice},
    packets::{Client, Kind, Packet, Way},
    plan::Plan,
    prefix::Prefix,
    rules::{Mode, Policy, Rules, Service},
    tally::Tag,
    world::{SLAVES, VRFS, addresses_for},
};

/// `lo`.
const LOOPBACK: usize = 1;
const FIRST_VRF: usize = 10;
const FIRST_SLAVE: usize = 20;

/// Packets of a plan of which core says something else than the oracle.
pub fn differing(plan: &Plan) -> Vec<String> {
    let Plan {
        rules,
        listeners,
        packets,
    } = plan;
    let rules = rule_set(rules);
    let sockets: Vec<OpenSocket> = listeners.iter().map(socket).collect();
    let in_force = InForce {
        sockets: &sockets,
        ..InForce::from(&rules)
    };
    let differing = packets.iter().filter_map(|(packet, foretold)| {
        let decision = in_force.decide(shown(packet));
        (!agree(decision, foretold, listeners, packet))
            .then(|| format!("{packet}: core: {decision:?}; the model: {foretold:?}"))
    });
    differing.collect()
}

/// Whether the reason is the same, and the packet's end, the kernel having chosen among the sockets of what passes.
fn agree(
    decision: Decision<'_>,
    foretold: &Foretold,
    listeners: &[Listener],
    packet: &Packet,
) -> bool {
    let is = |tag: Tag| foretold.tags.contains(&tag);
    let not_admitted = |reason: RefuseReason<'_>| {
        is(Tag::SourceNotListed) == matches!(reason, RefuseReason::SourceNotAllowed(_))
            && !is(Tag::PastVrfs)
            && !is(Tag::ByRule)
            && !is(Tag::ByRuleUnderAudit)
    };
    let same_reason = match decision {
        Decision::Pass(PassReason::NotVrf) => is(Tag::PastVrfs),
        // The lab's sysctls were 0.
        Decision::Pass(PassReason::AsBefore) => false,
        Decision::Pass(PassReason::Rule(_)) => is(Tag::ByRule) || is(Tag::ByRuleUnderAudit),
        Decision::Pass(PassReason::Listener { otherwise, .. }) => not_admitted(otherwise),
        Decision::Pass(PassReason::Audit(reason)) => is(Tag::Audited) && not_admitted(reason),
        Decision::Refuse(reason) => (is(Tag::Enforced) || is(Tag::Unnamed)) && not_admitted(reason),
    };
    let same_end = match decision {
        Decision::Pass(_) => {
            kernels_choice(listeners, packet).is_ok_and(|choice| choice == foretold.reached)
        }
        Decision::Refuse(_) => foretold.reached.is_none(),
    };
    same_reason && same_end
}

fn rule_set(rules: &Rules) -> RuleSet {
    let vrfs = (0..VRFS.len()).map(|vrf| (number(FIRST_VRF, vrf), gated(vrf, rules.of(vrf))));
    let slaves = SLAVES.iter().enumerate().map(|(place, slave)| {
        let vrf = number(FIRST_VRF, slave.vrf);
        (number(FIRST_SLAVE, place), vrf)
    });
    RuleSet::new(vrfs.collect(), slaves.collect())
        .unwrap_or_else(|error| panic!("these rules go together: {error}: {rules:?}"))
}

fn gated(vrf: usize, policy: &Policy) -> Vrf {
    let services = policy.services.iter().enumerate();
    Vrf {
        name: VRFS[vrf].to_owned(),
        posture: match policy.mode {
            Mode::Enforce => Posture::Enforced,
            Mode::Audit => Posture::Audited,
            Mode::Unnamed => Posture::AsBefore,
        },
        rules: services
            .map(|(place, service)| rule(vrf, place, service))
            .collect(),
    }
}

fn rule(vrf: usize, place: usize, service: &Service) -> Rule {
    let opens = |address: &IpAddr| service.addresses.iter().any(|it| it.opens(*address));
    let core = |prefix: &Prefix| {
        let written = prefix.to_string();
        let parsed = written.parse();
        parsed.unwrap_or_else(|error| panic!("{written}: {error}"))
    };
    let opening = Opening {
        protocol: protocol(service.protocol),
        ports: (service.first..=service.last)
            .try_into()
            .unwrap_or_else(|error| panic!("{service:?}: {error}")),
        addresses: addresses_for(vrf).filter(opens).collect(),
        prefixes: Vec::new(),
    };
    Rule {
        sources: service.sources.iter().map(core).collect(),
        ..Rule::new(format!("s{place}"), opening)
    }
}

fn socket(listener: &Listener) -> OpenSocket {
    let (address, dual_stack) = match listener.on {
        On::Everything => (Ipv6Addr::UNSPECIFIED.into(), true),
        On::EverythingOfIpv6 => (Ipv6Addr::UNSPECIFIED.into(), false),
        On::EverythingOfIpv4 => (Ipv4Addr::UNSPECIFIED.into(), false),
        On::Address(address) => (address, false),
        On::Mapped(address) => (address.into(), false),
    };
    OpenSocket {
        protocol: protocol(listener.protocol),
        address,
        port: listener.port,
        device: match listener.bound {
            Bound::Nothing => None,
            Bound::Vrf(vrf) => Some(number(FIRST_VRF, vrf)),
            Bound::Slave(slave) => Some(number(FIRST_SLAVE, slave)),
        },
        dual_stack,
        peer: None,
        cookie: 0,
        inode: 0,
    }
}

/// The packet as the kernel shows it to the gate.
fn shown(packet: &Packet) -> Shown {
    let is_local = !matches!(packet.client, Client::Behind { .. });
    let ingress = match (packet.way(), packet.to.kind) {
        // IPv4 from this host shows the device that has the address.
        (
            Some(Way {
                slave: Some(slave), ..
            }),
            _,
        ) if is_local && packet.to.address.is_ipv4() => number(FIRST_SLAVE, slave),
        (Some(Way { vrf, .. }), _) => number(FIRST_VRF, vrf),
        (None, Kind::OnTheLink(slave)) => number(FIRST_SLAVE, slave),
        (None, _) => number(LOOPBACK, 0),
    };
    Shown {
        ingress,
        protocol: protocol(packet.protocol),
        local: packet.to.address,
        local_port: packet.port,
        remote: packet.from(),
    }
}

fn number(first: usize, place: usize) -> u32 {
    u32::try_from(first + place).unwrap_or_else(|error| panic!("{first} and {place}: {error}"))
}

fn protocol(protocol: Protocol) -> vrfgate_core::Protocol {
    match protocol {
        Protocol::Tcp => vrfgate_core::Protocol::Tcp,
        Protocol::Udp => vrfgate_core::Protocol::Udp,
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{super::world::Order, *};

    /// What needs no kernel is tested where there is no lab, too.
    #[test]
    fn core_decides_random_packets_as_the_oracle_foretells() {
        let seed = fastrand::u64(..);
        let mut random = Rng::with_seed(seed);
        for order in [Order::LocalFirst, Order::LocalLast] {
            for round in 0..20 {
                let plan = Plan::random(&mut random, order);
                let differing = differing(&plan);
                assert!(
                    differing.is_empty(),
                    "seed {seed}, rule set {round}, {order:?}:\n{}\n{}",
                    differing.join("\n"),
                    plan.rules
                );
            }
        }
    }
}
