//! The state of each route.

use serde::{Deserialize, Serialize};
use vrfgate_core::{Desired, Leak, NodeFacts, Prefix, WantedRoute, Way};

use crate::{
    facts::device_text,
    node::{Refusal, RouteOutcome},
};

/// A route that a leak asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReport {
    /// The leak.
    pub leak: String,
    /// As `ip route add` takes it.
    pub route: String,
    /// Its state.
    pub state: RouteState,
}

/// The state of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteState {
    /// vrfgate made it.
    Made,
    /// Another route, which vrfgate did not make, stands in its place. It was left alone.
    SomebodyElses(String),
    /// It is there, and the kernel uses another route, which vrfgate did not make. Both were left alone.
    Overruled(String),
    /// The kernel refuses it, for this reason.
    Refused(String),
}

pub(super) fn report(
    wanted: &WantedRoute,
    outcome: &RouteOutcome,
    facts: &NodeFacts,
) -> RouteReport {
    RouteReport {
        leak: wanted.leak.to_string(),
        route: route_text(wanted, facts),
        state: match (
            outcome.refused.get(&wanted.key),
            outcome.overruled.get(&wanted.key),
        ) {
            (Some(Refusal::SomebodyElses(theirs)), _) => {
                RouteState::SomebodyElses(theirs.text.clone())
            }
            (Some(Refusal::Kernel(reason)), _) => RouteState::Refused(reason.clone()),
            (None, Some(theirs)) => RouteState::Overruled(theirs.text.clone()),
            (None, None) => RouteState::Made,
        },
    }
}

/// A route as `ip route add` takes it.
pub(in crate::node) fn route_text(wanted: &WantedRoute, facts: &NodeFacts) -> String {
    let name = |ifindex: u32| device_text(facts, ifindex);
    let WantedRoute { leak: _, key, way } = wanted;
    let route = match way {
        Way::Local { device } => {
            let address = key.prefix.network();
            let to = if key.prefix == Prefix::host(address) {
                address.to_string()
            } else {
                key.prefix.to_string()
            };
            format!("local {to} dev {} table {}", name(*device), key.table)
        }
        Way::Device { device } => {
            format!("{} dev {} table {}", key.prefix, name(*device), key.table)
        }
        Way::Return { vrf, source } => format!("{} dev {} src {source}", key.prefix, name(*vrf)),
    };
    let metric = key
        .metric
        .map_or_else(String::new, |metric| format!(" metric {metric}"));
    route + &metric
}

/// Notes on routes of the leak that the kernel does not use, because of routes that vrfgate did not make.
pub(super) fn beaten(
    leak: &Leak,
    desired: &Desired,
    outcome: &RouteOutcome,
    facts: &NodeFacts,
) -> Vec<String> {
    let of_leak = desired.routes.iter().filter(|it| it.leak == leak.name);
    let beaten = of_leak.filter_map(|route| {
        let theirs = match outcome.refused.get(&route.key) {
            Some(Refusal::SomebodyElses(theirs)) => theirs,
            Some(Refusal::Kernel(_)) => return None,
            None => outcome.overruled.get(&route.key)?,
        };
        // As good as the route of the leak.
        let delivers = theirs.is_local && matches!(route.way, Way::Local { .. });
        (!delivers).then(|| {
            format!(
                "can't have packets routed by `{}`: the kernel uses `{}`, which is not vrfgate's; remove that one, or \
                 have what made it (proto {}) leave it out",
                route_text(route, facts),
                theirs.text,
                theirs.made_by
            )
        })
    });
    beaten.collect()
}
