//! Finds in which table look-ups of VRFs end, and which addresses of the host their packets reach.
//!
//! A VRF's table may hold a million routes: nothing here reads a table, but for the few routes that end a look-up, which
//! the kernel picks.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use vrfgate_core::{LinkKind, NodeFacts};
use vrfgate_ebpf::netlink;

use super::{
    Lookup,
    answers::{policy_rule, route_fact},
};
use crate::{
    facts::{PolicyRule, RouteFact, RouteKind, goes_on},
    node::{
        FactsError, PROTOCOL, Watcher,
        kernel::{fib_match, rules},
    },
};

/// Addresses that only a default route leads to: reserved, or not assigned. Several, because a table may hold a route for
/// any of them.
const NOWHERE_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(255, 255, 255, 254),
    Ipv4Addr::new(192, 0, 0, 8),
    Ipv4Addr::new(198, 51, 100, 254),
];
const NOWHERE_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xc000, 0, 0, 0, 0, 0, 0, 1),
];

/// A VRF whose table doesn't end look-ups of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenEnd {
    /// Its name.
    pub vrf: String,
    /// Its table.
    pub table: u32,
    /// The family.
    pub ipv4: bool,
    /// The policy rule by which packets go on.
    pub rule: PolicyRule,
}

impl Watcher {
    /// The VRFs whose packets go on to other tables when their own has no route for them, family by family.
    pub async fn open_ends(&self, node: &NodeFacts) -> Result<Vec<OpenEnd>, FactsError> {
        let mut found = Vec::new();
        for ipv4 in [true, false] {
            let rules = self.rules_of(ipv4).await?;
            for link in &node.links {
                let LinkKind::Vrf { table: Some(table) } = link.kind else {
                    continue;
                };
                // Where a VRF has no address of a family, not even a link-local one, that is switched off.
                let [own, _] = node.addresses_around(link.ifindex);
                let in_use = own.iter().any(|address| address.is_ipv4() == ipv4);
                let Some(rule) = goes_on(&rules, &link.name).filter(|_| in_use) else {
                    continue;
                };
                if !self.has_end(link.ifindex, table, ipv4).await? {
                    found.push(OpenEnd {
                        vrf: link.name.clone(),
                        table,
                        ipv4,
                        rule: rule.clone(),
                    });
                }
            }
        }
        Ok(found)
    }

    /// The policy database of a family, in the order in which the kernel asks it.
    pub async fn rules_of(&self, ipv4: bool) -> Result<Vec<PolicyRule>, FactsError> {
        let found = self.ask("policy rules", move |socket| rules(socket, ipv4));
        Ok(found.await?.into_iter().map(policy_rule).collect())
    }

    /// Whether a look-up that comes to a VRF's table ends there, whatever it is for.
    async fn has_end(&self, vrf: u32, table: u32, ipv4: bool) -> Result<bool, FactsError> {
        let nowhere: Vec<IpAddr> = if ipv4 {
            NOWHERE_V4.into_iter().map(IpAddr::V4).collect()
        } else {
            NOWHERE_V6.into_iter().map(IpAddr::V6).collect()
        };
        for address in &nowhere {
            let mut ends = self.dead_ends([table].into(), *address).await?;
            // After `throw`, the next policy rule is used.
            ends.retain(|route| route.kind != RouteKind::Throw);
            let default = ends
                .iter()
                .any(|route| route.prefix.is_some_and(|prefix| prefix.prefix_len() == 0));
            if default {
                return Ok(true);
            }
            let found = self.matching(vrf, *address).await?;
            let own = found.filter(|(route, _)| route.table == table);
            let is_default = own.as_ref().is_some_and(|(route, _)| {
                route.prefix.is_none_or(|prefix| prefix.prefix_len() == 0)
            });
            if is_default {
                return Ok(true);
            }
            // A route for this very address proves nothing about others.
            if own.is_none() && ends.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Those of the host's addresses that a VRF's packets are delivered to, by routes that aren't of our making.
    pub async fn delivered_to(
        &self,
        vrf: u32,
        addresses: BTreeSet<IpAddr>,
    ) -> Result<BTreeSet<IpAddr>, FactsError> {
        let mut delivered = BTreeSet::new();
        for address in addresses {
            if let Some((route, protocol)) = self.matching(vrf, address).await?
                && route.kind == RouteKind::Local
                && protocol != PROTOCOL
            {
                delivered.insert(address);
            }
        }
        Ok(delivered)
    }

    /// The route that a packet of a VRF finds, as it stands in its table, and who made it. `None` when a look-up fails.
    async fn matching(&self, vrf: u32, to: IpAddr) -> Result<Option<(RouteFact, u8)>, FactsError> {
        let lookup = Lookup {
            output: Some(vrf),
            protocol: Some(vrfgate_core::Protocol::Tcp.number()),
            flags: fib_match(to),
            ..Lookup::of(to)
        };
        self.ask("route", move |socket| match lookup.ask(socket) {
            Ok(found) => Ok(found.map(|found| (route_fact(&found), found.protocol))),
            Err(netlink::Error::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }
}
