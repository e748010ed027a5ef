//! The routes that leaks ask for: into VRFs' tables, and back into the main table.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Leak, LeakName, Link, LinkKind, NodeFacts, Prefix, Replies};

/// `RT_TABLE_MAIN` of `<linux/rtnetlink.h>`.
const MAIN: u32 = 254;

/// A route that shall exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRoute {
    /// The leak that asks for it.
    pub leak: LeakName,
    /// What tells it from other routes.
    pub key: RouteKey,
    /// Where it leads.
    pub way: Way,
}

/// What tells routes apart: the kernel keeps one for each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Number of the routing table.
    pub table: u32,
    /// Destination.
    pub prefix: Prefix,
    /// `None` is the kernel's default.
    pub metric: Option<u32>,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// To this host. Under either order of the policy rules, unlike a route out of the device that holds
    /// the address.
    Local {
        /// Ifindex of the device that holds the address.
        device: u32,
    },
    /// Out of a device, to hosts on its link.
    Device {
        /// Ifindex of the device.
        device: u32,
    },
    /// Out of a VRF device, and so by the VRF's own table.
    Return {
        /// Ifindex of the VRF device.
        vrf: u32,
        /// Address that packets without one of their own are sent from.
        source: IpAddr,
    },
}

/// A route of a leak that nothing can be made of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmadeRoute {
    /// The leak.
    pub leak: LeakName,
    /// The route's destination.
    pub prefix: Prefix,
    /// What is in the way, as the end of a sentence.
    pub reason: String,
}

/// Every route that the leaks ask for, and what can't be made.
///
/// A leak without its VRF has no table to put routes into; it waits as a whole.
pub(super) fn wanted_routes(
    leaks: &[Leak],
    facts: &NodeFacts,
) -> (Vec<WantedRoute>, Vec<UnmadeRoute>) {
    let links: BTreeMap<&str, &Link> = facts
        .links
        .iter()
        .map(|link| (link.name.as_str(), link))
        .collect();
    let locals = facts.main_addresses();
    let mut wanted = BTreeMap::new();
    let mut unmade = Vec::new();
    for leak in leaks {
        let Some(&&Link {
            ifindex: vrf,
            kind: LinkKind::Vrf { table: Some(table) },
            ..
        }) = links.get(leak.vrf.as_str())
        else {
            continue;
        };
        for route in &leak.routes {
            let key = |prefix| RouteKey {
                table,
                prefix,
                metric: route.metric,
            };
            for local in locals
                .iter()
                .filter(|local| route.prefix.means(local.address))
            {
                let device = local.ifindex;
                add(
                    &mut wanted,
                    leak,
                    key(Prefix::host(local.address)),
                    Way::Local { device },
                );
            }
            for local in &facts.prefixes {
                for prefix in route.prefix.means_of(local.prefix) {
                    let device = local.ifindex;
                    add(&mut wanted, leak, key(prefix), Way::Local { device });
                }
            }
            let Some(device) = &route.device else {
                continue;
            };
            match links.get(device.as_str()) {
                Some(link) => {
                    let device = link.ifindex;
                    add(&mut wanted, leak, key(route.prefix), Way::Device { device });
                }
                None => unmade.push(UnmadeRoute {
                    leak: leak.name.clone(),
                    prefix: route.prefix,
                    reason: format!("until device {device} exists"),
                }),
            }
        }
        if leak.replies == Replies::Route {
            for route in &leak.return_routes {
                let key = RouteKey {
                    table: MAIN,
                    prefix: route.prefix,
                    metric: None,
                };
                if locals.iter().any(|local| local.address == route.source) {
                    let source = route.source;
                    add(&mut wanted, leak, key, Way::Return { vrf, source });
                } else {
                    unmade.push(UnmadeRoute {
                        leak: leak.name.clone(),
                        prefix: route.prefix,
                        reason: format!("until {} is a local address", route.source),
                    });
                }
            }
        }
    }
    (wanted.into_values().collect(), unmade)
}

/// The first to ask for a route gets it: a local address whose prefix is routed as a whole stays local.
fn add(wanted: &mut BTreeMap<RouteKey, WantedRoute>, leak: &Leak, key: RouteKey, way: Way) {
    wanted.entry(key).or_insert_with(|| WantedRoute {
        leak: leak.name.clone(),
        key,
        way,
    });
}
