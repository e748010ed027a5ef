//! Leaks and facts become the desired state of one namespace's gate.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    Leak, LeakName, Link, LinkKind, LocalPrefix, Mode, NodeFacts, PortRange, Posture, Prefix,
    Protocol, Service, ServiceName, SteeredVrf, UnmadeRoute, VrfName, WantedRoute, facts::Domain,
    routes::wanted_routes, steer::steered_vrfs,
};

/// What the gate of one namespace shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Every VRF device of the namespace, by ifindex: a VRF left out would be an open one.
    pub vrfs: Vec<GatedVrf>,
    /// Leaks that can take no effect yet.
    pub waiting: Vec<Waiting>,
    /// Leak routes and return routes that shall exist, each once, in order of their keys.
    pub routes: Vec<WantedRoute>,
    /// Routes that nothing can be made of yet.
    pub unmade_routes: Vec<UnmadeRoute>,
    /// VRFs whose UDP answers shall be steered, by ifindex.
    pub steered: Vec<SteeredVrf>,
}

/// A VRF device and what is opened to its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatedVrf {
    /// Name as the kernel gives it.
    pub name: String,
    /// Index of the VRF device.
    pub ifindex: u32,
    /// Indexes of the devices that are enslaved to it: who is bound to one of them listens to the VRF.
    pub slaves: Vec<u32>,
    /// What happens to packets that no service lets in. A VRF that no leak names behaves as it did before.
    pub posture: Posture,
    /// What is opened, in the order of the leaks.
    pub services: Vec<OpenService>,
}

/// A service of a leak, on the addresses that this namespace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenService {
    /// The leak that asks for it.
    pub leak: LeakName,
    /// Its name there.
    pub service: ServiceName,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local ports.
    pub ports: PortRange,
    /// Local addresses, sorted, each once. Empty while none of the wanted ones exists.
    pub addresses: Vec<IpAddr>,
    /// Prefixes of which every address is local, sorted, each once.
    pub prefixes: Vec<Prefix>,
    /// Clients that are let in; empty means every client of the VRF.
    pub sources: Vec<Prefix>,
    /// Wanted prefixes with no local address inside yet.
    pub unmatched: Vec<Prefix>,
}

/// A leak without its VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The leak.
    pub leak: LeakName,
    /// The VRF it names.
    pub vrf: VrfName,
    /// What is in the way.
    pub reason: WaitingReason,
}

/// Why a leak waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingReason {
    /// No device has the name.
    NoSuchDevice,
    /// A device has the name, but is no VRF.
    NotAVrf,
    /// The VRF is there, and which routing table it has is not known. Its services are open all the same.
    TableUnknown,
}

/// Compiles the leaks meant for one namespace against what is there.
///
/// The leaks should be free of conflicts (see [`check_set`](super::check_set)). Where they are not,
/// the result errs on the closed side: a VRF is audited only if every leak that names it says so.
#[must_use]
pub fn compile(leaks: &[Leak], facts: &NodeFacts) -> Desired {
    let addresses = facts.placed_addresses();
    let mut vrfs: Vec<GatedVrf> = facts
        .links
        .iter()
        .filter(|link| is_vrf(link))
        .map(|link| gated_vrf(link, leaks, &addresses, facts))
        .collect();
    vrfs.sort_by_key(|vrf| vrf.ifindex);
    let waiting = leaks
        .iter()
        .filter_map(|leak| waiting(leak, facts))
        .collect();
    let (routes, unmade_routes) = wanted_routes(leaks, facts);
    let steered = steered_vrfs(leaks, facts, &vrfs);
    Desired {
        vrfs,
        waiting,
        routes,
        unmade_routes,
        steered,
    }
}

fn is_vrf(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Vrf { .. })
}

fn gated_vrf(
    link: &Link,
    leaks: &[Leak],
    addresses: &[(IpAddr, Domain)],
    facts: &NodeFacts,
) -> GatedVrf {
    let named: Vec<&Leak> = leaks
        .iter()
        .filter(|leak| leak.vrf.as_str() == link.name)
        .collect();
    let posture = if named.is_empty() {
        Posture::AsBefore
    } else if named.iter().all(|leak| leak.mode == Mode::Audit) {
        Posture::Audited
    } else {
        Posture::Enforced
    };
    let candidates = reachable_addresses(link.ifindex, addresses);
    GatedVrf {
        name: link.name.clone(),
        ifindex: link.ifindex,
        slaves: facts.slaves_of(link.ifindex),
        posture,
        services: named
            .iter()
            .flat_map(|leak| leak.services.iter().map(|service| (&leak.name, service)))
            .map(|(leak, service)| open_service(leak, service, &candidates, &facts.prefixes))
            .collect(),
    }
}

/// The local addresses that clients of a VRF may be given: the main domain's and the VRF's own.
/// Those of other VRFs are none of its business, even where a prefix covers them.
fn reachable_addresses(vrf: u32, addresses: &[(IpAddr, Domain)]) -> BTreeSet<IpAddr> {
    addresses
        .iter()
        .filter(|(_, domain)| match domain {
            Domain::Main => true,
            Domain::Vrf(ifindex) => *ifindex == vrf,
            Domain::Unknown => false,
        })
        .map(|(address, _)| *address)
        .collect()
}

fn open_service(
    leak: &LeakName,
    service: &Service,
    candidates: &BTreeSet<IpAddr>,
    prefixes: &[LocalPrefix],
) -> OpenService {
    let Service {
        name,
        protocol,
        ports,
        addresses,
        sources,
    } = service;
    let inside = |prefix: &Prefix| -> BTreeSet<IpAddr> {
        candidates
            .iter()
            .copied()
            .filter(|address| prefix.means(*address))
            .collect()
    };
    let whole = |prefix: &Prefix| -> BTreeSet<Prefix> {
        prefixes
            .iter()
            .flat_map(|local| prefix.means_of(local.prefix))
            .collect()
    };
    OpenService {
        leak: leak.clone(),
        service: name.clone(),
        protocol: *protocol,
        ports: *ports,
        addresses: addresses
            .iter()
            .flat_map(inside)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        prefixes: addresses
            .iter()
            .flat_map(whole)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        sources: sources.clone(),
        unmatched: addresses
            .iter()
            .copied()
            .filter(|prefix| inside(prefix).is_empty() && whole(prefix).is_empty())
            .collect(),
    }
}

fn waiting(leak: &Leak, facts: &NodeFacts) -> Option<Waiting> {
    let device = facts
        .links
        .iter()
        .find(|link| link.name == leak.vrf.as_str());
    let reason = match device {
        None => WaitingReason::NoSuchDevice,
        Some(link) => match link.kind {
            LinkKind::Vrf { table: Some(_) } => return None,
            LinkKind::Vrf { table: None } => WaitingReason::TableUnknown,
            LinkKind::Other => WaitingReason::NotAVrf,
        },
    };
    Some(Waiting {
        leak: leak.name.clone(),
        vrf: leak.vrf.clone(),
        reason,
    })
}
