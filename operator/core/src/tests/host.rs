//! A host under test, described the way `ip link` and `ip address` would.

use super::{Link, LinkKind, LocalAddress, LocalPrefix, NodeFacts, ip};

/// Builds [`NodeFacts`], numbering links from 1.
#[derive(Default)]
pub struct Host(NodeFacts);

impl Host {
    /// Adds a VRF device.
    pub fn vrf(self, name: &str) -> Self {
        self.link(name, LinkKind::Vrf { table: Some(10) }, None)
    }

    /// Adds a device of the main domain.
    pub fn device(self, name: &str) -> Self {
        self.link(name, LinkKind::Other, None)
    }

    /// Adds a device enslaved to `master`.
    pub fn slave(self, name: &str, master: &str) -> Self {
        let master = self.ifindex(master);
        self.link(name, LinkKind::Other, Some(master))
    }

    /// Gives an address to the device added last.
    pub fn address(mut self, address: &str) -> Self {
        let ifindex = self.0.links.last().unwrap().ifindex;
        self.0.addresses.push(LocalAddress {
            ifindex,
            address: ip(address),
        });
        self
    }

    /// Makes a prefix local as a whole, by a route to the device added last.
    pub fn local_prefix(mut self, prefix: &str) -> Self {
        let ifindex = self.0.links.last().unwrap().ifindex;
        self.0.prefixes.push(LocalPrefix {
            ifindex,
            prefix: prefix.parse().unwrap(),
        });
        self
    }

    /// The index of a device.
    pub fn ifindex(&self, name: &str) -> u32 {
        self.0
            .links
            .iter()
            .find(|link| link.name == name)
            .unwrap()
            .ifindex
    }

    /// What the kernel would tell of this host.
    pub fn facts(&self) -> &NodeFacts {
        &self.0
    }

    /// The same, to be spoilt.
    pub fn facts_mut(&mut self) -> &mut NodeFacts {
        &mut self.0
    }

    fn link(mut self, name: &str, kind: LinkKind, master: Option<u32>) -> Self {
        let ifindex = u32::try_from(self.0.links.len()).unwrap() + 1;
        self.0.links.push(Link {
            ifindex,
            name: name.to_owned(),
            kind,
            master,
        });
        self
    }
}
