//! Which route the kernel uses for a destination of ours. Only asks, and changes no route.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use vrfgate_core::{Link, LinkKind};
use vrfgate_ebpf::netlink::{Error, Socket};

use super::{
    Filter, Lookup, PROTOCOL, Route, Standing,
    found::{Found, Place},
    is_no_way, routes,
};
use crate::node::kernel::fib_match;

/// Routes that end a look-up: `RTN_BLACKHOLE`, `RTN_UNREACHABLE`, `RTN_PROHIBIT`, `RTN_THROW`.
const DEAD_ENDS: [u8; 4] = [6, 7, 8, 9];

/// The route that the kernel uses instead of one of ours which is there. Another table that is asked before, such as that
/// of local addresses, is none of our business: it is for policy rules to say.
pub(super) fn instead_of(
    socket: &mut Socket,
    ours: &Found,
    links: &[Link],
) -> Result<Option<Route>, Error> {
    let of_table = links.iter().find(
        |link| matches!(link.kind, LinkKind::Vrf { table: Some(table) } if table == ours.table),
    );
    let to = address_in(ours.destination);
    let question = Lookup {
        output: of_table.map(|vrf| vrf.ifindex),
        flags: fib_match(to),
        ..Lookup::of(to)
    };
    let in_place = |route: &Route| {
        route.table == ours.table
            && route.destination == ours.destination
            && route.protocol != PROTOCOL
    };
    match question.ask(socket) {
        Ok(answer) => Ok(answer.filter(in_place)),
        Err(error) if is_no_way(&error) => {
            for kind in DEAD_ENDS {
                let filter = Filter {
                    table: ours.table,
                    kind,
                    protocol: 0,
                };
                let ipv4 = ours.destination.addr().is_ipv4();
                let found = routes(socket, ipv4, filter, |route| {
                    // One that is no better has not answered.
                    (in_place(&route) && route.metric <= ours.metric).then_some(route)
                })?;
                if let Some(route) = found.into_iter().next() {
                    return Ok(Some(route));
                }
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An address that the route is for: of more than one, none that is a network's own.
fn address_in(destination: IpNet) -> IpAddr {
    let mut hosts = destination.hosts();
    let first = hosts.next().unwrap_or(destination.network());
    match destination {
        // Its first host is the routers' anycast address.
        IpNet::V6(net) if net.prefix_len() < 127 => hosts.next().unwrap_or(first),
        _ => first,
    }
}

/// The routes that stand in places of ours. The kernel is first asked for the route that it uses; a table is read only where
/// it is not the one that answers, which may take a second where a routing daemon has filled it.
pub(super) fn in_places<'a>(
    socket: &mut Socket,
    taken: impl Iterator<Item = &'a Found>,
    links: &[Link],
    standing: &mut Standing,
) -> Result<Vec<(&'a Found, Route)>, Error> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for found in taken {
        let route = match standing.get(&found.place()) {
            Some(route) => Some(route.clone()),
            None => instead_of(socket, found, links)?,
        };
        match route {
            Some(route) => known.push((found, route)),
            None => unknown.push(found),
        }
    }
    let tables: BTreeSet<(bool, u32)> = unknown.iter().map(|found| found.family_table()).collect();
    for (ipv4, table) in tables {
        let filter = Filter {
            table,
            ..Filter::default()
        };
        let places: BTreeSet<Place> = unknown.iter().map(|found| found.place()).collect();
        let all = routes(socket, ipv4, filter, |route| {
            places
                .contains(&Found::from(&route).place())
                .then_some(route)
        })?;
        // The first of several is the one that the kernel uses.
        for route in all.into_iter().rev() {
            standing.insert(Found::from(&route).place(), route);
        }
    }
    known.extend(unknown.into_iter().filter_map(|found| {
        let route = standing.get(&found.place())?;
        Some((found, route.clone()))
    }));
    Ok(known)
}
