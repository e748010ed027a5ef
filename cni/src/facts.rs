//! Links and addresses of a namespace, which the plugin reads by netlink.

use std::{collections::BTreeSet, io, net::IpAddr};

use vrfgate_core::{Attachment, Link, LinkKind, NodeFacts, VrfName};
use vrfgate_ebpf::{
    Netns,
    netlink::{self, Socket},
};

/// The facts of a namespace, without prefixes that are local as a whole, which only an agent opens.
///
/// # Errors
///
/// Netlink fails.
pub fn facts_of(netns: &Netns) -> io::Result<NodeFacts> {
    let mut socket = Socket::route(netns)?;
    let links = netlink::links(&mut socket)?;
    let addresses = netlink::addresses(&mut socket)?;
    Ok(NodeFacts {
        links: links.into_iter().map(Link::from).collect(),
        addresses,
        prefixes: Vec::new(),
    })
}

/// Whether the namespace has a VRF, in a single netlink dump.
pub(crate) fn any_vrf(netns: &Netns) -> io::Result<bool> {
    let links = netlink::links(&mut Socket::route(netns)?)?;
    Ok(links
        .iter()
        .any(|link| matches!(link.kind, LinkKind::Vrf { .. })))
}

/// The addresses of a namespace, sorted.
pub(crate) fn addresses_of(netns: &Netns) -> io::Result<Vec<IpAddr>> {
    let addresses = netlink::addresses(&mut Socket::route(netns)?)?;
    let addresses: BTreeSet<IpAddr> = addresses.iter().map(|local| local.address).collect();
    Ok(addresses.into_iter().collect())
}

/// The same facts, with only those addresses that existed at the ADD of one of these attachments.
pub(crate) fn known_to(mut facts: NodeFacts, attachments: &[Attachment]) -> NodeFacts {
    let known: BTreeSet<IpAddr> = attachments
        .iter()
        .flat_map(|attachment| attachment.addresses.iter().copied())
        .collect();
    facts
        .addresses
        .retain(|local| known.contains(&local.address));
    facts
}

/// The names of a namespace's VRFs, sorted.
#[must_use]
pub fn vrfs_of(facts: &NodeFacts) -> Vec<VrfName> {
    let vrfs = facts.links.iter().filter(|link| link.is_vrf());
    let mut names: Vec<VrfName> = vrfs.filter_map(|vrf| vrf.name.parse().ok()).collect();
    names.sort();
    names
}
