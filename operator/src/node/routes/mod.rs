//! Makes and removes routes by rtnetlink. Owns every route of our protocol number in a namespace, and
//! touches no other.

mod found;
mod text;
mod winner;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use vrfgate_core::{Link, RouteKey, WantedRoute};
use vrfgate_ebpf::netlink::{Error, Request, Socket};

use self::found::{Found, Place, as_found};
use super::kernel::{Filter, Lookup, Route, routes};

/// By this protocol number our routes are known (`ip route show proto 118`). Not in use by any routing
/// daemon that iproute2's `rt_protos` knows.
pub const PROTOCOL: u8 = 118;

/// The result of a reconciliation of routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteOutcome {
    /// Routes made now.
    pub made: BTreeSet<RouteKey>,
    /// How many of our routes were removed because no leak asks for them any more.
    pub removed: usize,
    /// Routes that could not be made, and why.
    pub refused: BTreeMap<RouteKey, Refusal>,
    /// Routes that are there, and the ones that the kernel uses instead of them.
    pub overruled: BTreeMap<RouteKey, Theirs>,
}

/// A route that vrfgate did not make, where ours should be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// As `ip route` prints it.
    pub text: String,
    /// Who made it, as `ip route` names them.
    pub made_by: String,
    /// Whether it delivers here, as a local route of ours would.
    pub is_local: bool,
}

/// Why a route is not there as we would make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A route that vrfgate did not make stands in its place, and was left alone.
    SomebodyElses(Theirs),
    /// The kernel's answer.
    Kernel(String),
}

/// Others' routes that stand in places of ours. To find one, its whole table has to be read where another table answers
/// before, so they are remembered until a change there is notified.
pub(super) type Standing = BTreeMap<Place, Route>;

/// Makes our routes as wanted. New routes come before old ones go, but for old ones that stand in
/// a new one's place. `links` are the devices of the namespace.
pub(super) fn reconcile(
    socket: &mut Socket,
    wanted: &[WantedRoute],
    links: &[Link],
    standing: &mut Standing,
) -> Result<RouteOutcome, Error> {
    let wanted: BTreeMap<Found, &WantedRoute> = wanted
        .iter()
        .map(|route| (as_found(route), route))
        .collect();
    let places: BTreeSet<Place> = wanted.keys().map(Found::place).collect();
    let mut outcome = RouteOutcome::default();
    let mut present = BTreeSet::new();
    let mut stale = Vec::new();
    for found in ours(socket)? {
        if wanted.contains_key(&found) {
            present.insert(found);
        } else if places.contains(&found.place()) {
            remove(socket, &found)?;
            outcome.removed += 1;
        } else {
            stale.push(found);
        }
    }
    let mut taken = BTreeMap::new();
    for (found, route) in &wanted {
        if present.contains(found) {
            continue;
        }
        match change(socket, &RouteNetlinkMessage::NewRoute(found.message())) {
            Ok(()) => {
                outcome.made.insert(route.key);
            }
            Err(error) => match error.errno() {
                Some(nix::Error::EEXIST) => {
                    taken.insert(found, route.key);
                }
                Some(errno) => {
                    let refusal = Refusal::Kernel(errno.desc().to_owned());
                    outcome.refused.insert(route.key, refusal);
                }
                None => return Err(error),
            },
        }
    }
    for (found, theirs) in winner::in_places(socket, taken.keys().copied(), links, standing)? {
        // One of ours, which a list that changed meanwhile may lack.
        if theirs.protocol == PROTOCOL {
            continue;
        }
        if let Some(key) = taken.get(found) {
            let refusal = Refusal::SomebodyElses(described(&theirs, links));
            outcome.refused.insert(*key, refusal);
        }
    }
    for found in stale {
        remove(socket, &found)?;
        outcome.removed += 1;
    }
    for (found, route) in &wanted {
        if outcome.refused.contains_key(&route.key) {
            continue;
        }
        if let Some(winner) = winner::instead_of(socket, found, links)? {
            let winner = described(&winner, links);
            outcome.overruled.insert(route.key, winner);
        }
    }
    Ok(outcome)
}

fn described(route: &Route, links: &[Link]) -> Theirs {
    Theirs {
        text: text::route(route, links),
        made_by: text::protocol_name(route.protocol),
        is_local: route.kind == found::LOCAL,
    }
}

/// Tables and destinations of routes.
pub(super) fn places(wanted: &[WantedRoute]) -> HashSet<(u32, IpNet)> {
    let places = wanted.iter().map(|route| &route.key);
    places.map(|key| (key.table, key.prefix.into())).collect()
}

/// Our routes in all tables. The kernel does the choosing, so a full table of a routing daemon costs nothing.
fn ours(socket: &mut Socket) -> Result<Vec<Found>, Error> {
    let filter = Filter {
        protocol: PROTOCOL,
        ..Filter::default()
    };
    let mut found = Vec::new();
    for ipv4 in [true, false] {
        found.extend(routes(socket, ipv4, filter, |route| {
            // A kernel that doesn't do the choosing lists all of them.
            (route.protocol == PROTOCOL).then(|| Found::from(&route))
        })?);
    }
    Ok(found)
}

/// Whether a packet of this host's main domain would find a route to an address.
pub(super) fn is_reachable(socket: &mut Socket, address: IpAddr) -> Result<bool, Error> {
    match Lookup::of(address).ask(socket) {
        Ok(_) => Ok(true),
        Err(error) if is_no_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the kernel answers that there is no way: `unreachable`, `prohibit` and `blackhole` routes, and none at all.
fn is_no_way(error: &Error) -> bool {
    matches!(
        error.errno(),
        Some(
            nix::Error::ENETUNREACH
                | nix::Error::EHOSTUNREACH
                | nix::Error::EACCES
                | nix::Error::EINVAL,
        )
    )
}

fn change(socket: &mut Socket, message: &RouteNetlinkMessage) -> Result<(), Error> {
    let flags = match message {
        RouteNetlinkMessage::NewRoute(_) => NLM_F_CREATE | NLM_F_EXCL,
        _ => 0,
    };
    socket.change(&Request::of(message, flags))
}

fn remove(socket: &mut Socket, found: &Found) -> Result<(), Error> {
    match change(socket, &RouteNetlinkMessage::DelRoute(found.message())) {
        // Gone already: with its device or its address, or removed by something else.
        Err(error) if error.errno() == Some(nix::Error::ESRCH) => Ok(()),
        result => result,
    }
}
