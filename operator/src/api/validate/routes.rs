//! `spec.routes` and `spec.returnRoutes`.

use std::{net::IpAddr, str::FromStr};

use super::{LOOPBACK, Place, errors::Errors};
use crate::api::{
    field::FieldPath,
    limits,
    types::{ReturnRouteSpec, RouteSpec},
};
use vrfgate_core::{DeviceName, Prefix, ReturnRoute, Route};

/// The leak routes that are legal; the others are noted.
pub fn parse_routes(
    spec: &FieldPath,
    vrf: &str,
    routes: &[RouteSpec],
    place: Place,
    errors: &mut Errors,
) -> Vec<Route> {
    let list = spec.field("routes");
    errors.check_length(&list, routes, limits::ROUTES);
    let parsed: Vec<(FieldPath, Route)> = routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| {
            let path = list.index(index);
            let route = parse_route(&path, vrf, route, place, errors)?;
            Some((path.field("prefix"), route))
        })
        .collect();
    let prefixes: Vec<(FieldPath, Prefix)> = parsed
        .iter()
        .map(|(path, route)| (path.clone(), route.prefix))
        .collect();
    errors.check_distinct(&prefixes);
    parsed.into_iter().map(|(_, route)| route).collect()
}

fn parse_route(
    path: &FieldPath,
    vrf: &str,
    route: &RouteSpec,
    place: Place,
    errors: &mut Errors,
) -> Option<Route> {
    let RouteSpec {
        prefix,
        device,
        metric,
    } = route;
    let prefix = errors.keep(&path.field("prefix"), Prefix::from_str(prefix));
    let device = match device {
        None => Some(None),
        Some(device) => parse_device(&path.field("device"), vrf, device, place, errors).map(Some),
    };
    let metric = match metric {
        None => Some(None),
        // 0 asks the kernel for its default, too.
        Some(metric) => parse_metric(&path.field("metric"), *metric, errors)
            .map(|metric| Some(metric).filter(|metric| *metric != 0)),
    };
    Some(Route {
        prefix: prefix?,
        device: device?,
        metric: metric?,
    })
}

fn parse_device(
    path: &FieldPath,
    vrf: &str,
    device: &str,
    place: Place,
    errors: &mut Errors,
) -> Option<DeviceName> {
    // IPv4 packets that leave by it come in once more, as the host's own: nobody asks the gate then.
    if device == LOOPBACK && place != Place::Node {
        return errors.refuse(
            path,
            "lo leads nowhere but back: leave it out, local addresses get their routes without a device",
        );
    }
    if device == vrf {
        return errors.refuse(
            path,
            format!("{device} is the VRF that the route leads out of"),
        );
    }
    errors.keep(path, DeviceName::from_str(device))
}

fn parse_metric(path: &FieldPath, metric: i64, errors: &mut Errors) -> Option<u32> {
    let parsed = u32::try_from(metric)
        .map_err(|_| format!("{metric} is not a route metric (0-{})", u32::MAX));
    errors.keep(path, parsed)
}

/// The return routes that are legal; the others are noted.
pub fn parse_return_routes(
    spec: &FieldPath,
    routes: &[ReturnRouteSpec],
    place: Place,
    errors: &mut Errors,
) -> Vec<ReturnRoute> {
    let list = spec.field("returnRoutes");
    errors.check_length(&list, routes, limits::ROUTES);
    let parsed: Vec<(FieldPath, ReturnRoute)> = routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| {
            let path = list.index(index);
            let route = parse_return_route(&path, route, place, errors)?;
            Some((path.field("prefix"), route))
        })
        .collect();
    let prefixes: Vec<(FieldPath, Prefix)> = parsed
        .iter()
        .map(|(path, route)| (path.clone(), route.prefix))
        .collect();
    errors.check_distinct(&prefixes);
    parsed.into_iter().map(|(_, route)| route).collect()
}

fn parse_return_route(
    path: &FieldPath,
    route: &ReturnRouteSpec,
    place: Place,
    errors: &mut Errors,
) -> Option<ReturnRoute> {
    let ReturnRouteSpec { prefix, source } = route;
    let prefix = errors.keep(&path.field("prefix"), Prefix::from_str(prefix));
    let source = errors.keep(&path.field("source"), parse_source(source));
    let (prefix, source) = (prefix?, source?);
    if place != Place::Node {
        if prefix.network().is_loopback() {
            errors.add(
                &path.field("prefix"),
                format!("{prefix} is loopback, where no client is"),
            );
        }
        if source.is_loopback() {
            errors.add(
                &path.field("source"),
                format!("no server can answer from {source}"),
            );
        }
    }
    if prefix.network().is_ipv4() != source.is_ipv4() {
        return errors.refuse(
            &path.field("source"),
            format!("{source} is not of the address family of {prefix}"),
        );
    }
    Some(ReturnRoute { prefix, source })
}

/// An address that a server can answer from: one that a prefix of its own could hold.
fn parse_source(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.to_canonical() != address => Err(format!(
            "{address} is an IPv4 address in IPv6 notation; write {}",
            address.to_canonical()
        )),
        Ok(address) if address.to_string() != text => Err(format!(
            "{text:?} is written in an unusual form; write {address}"
        )),
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            Err(format!("no server can answer from {address}"))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(match Prefix::from_str(text) {
            Ok(prefix) => format!("{prefix} is a prefix; write one address of this host"),
            Err(_) => format!("{text:?} is not an IP address"),
        }),
    }
}
