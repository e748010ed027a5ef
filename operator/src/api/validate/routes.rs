//! `spec.routes` and `spec.returnRoutes`.

use std::{net::IpAddr, str::FromStr};

use vrfgate_core::{DeviceName, Prefix, ReturnRoute, Route};

use super::{LOOPBACK, errors::Errors};
use crate::api::{
    field::FieldPath,
    limits,
    types::{ReturnRouteSpec, RouteSpec},
};

/// The leak routes that are legal; the others are noted.
pub fn parse_routes(
    spec: &FieldPath,
    vrf: &str,
    routes: &[RouteSpec],
    errors: &mut Errors,
) -> Vec<Route> {
    parse_list(
        &spec.field("routes"),
        routes,
        errors,
        |path, route, errors| {
            let RouteSpec {
                prefix,
                device,
                metric,
            } = route;
            let prefix = errors.keep(&path.field("prefix"), Prefix::from_str(prefix));
            // An IPv4 packet that leaves by it comes in again as the host's own, which no gate decides on.
            let device = if device.as_deref() == Some(LOOPBACK) {
                errors.refuse(
                    &path.field("device"),
                    "lo leads nowhere but back: leave it out, local addresses get their routes without a device",
                )
            } else {
                parse_device(path, vrf, device.as_deref(), errors)
            };
            let metric = parse_metric(path, *metric, errors);
            Some(Route {
                prefix: prefix?,
                device: device?,
                metric: metric?,
            })
        },
        |route| route.prefix,
    )
}

/// The return routes that are legal; the others are noted.
pub fn parse_return_routes(
    spec: &FieldPath,
    routes: &[ReturnRouteSpec],
    errors: &mut Errors,
) -> Vec<ReturnRoute> {
    parse_list(
        &spec.field("returnRoutes"),
        routes,
        errors,
        |path, ReturnRouteSpec { prefix, source }, errors| {
            let (prefix, source) = parse_return(path, prefix, source, errors)?;
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
            in_one_family(path, prefix, source, errors)
        },
        |route| route.prefix,
    )
}

/// The items of a list that are legal; the others, and prefixes that come twice, are noted.
pub fn parse_list<T, R>(
    list: &FieldPath,
    items: &[T],
    errors: &mut Errors,
    parse: impl Fn(&FieldPath, &T, &mut Errors) -> Option<R>,
    prefix: impl Fn(&R) -> Prefix,
) -> Vec<R> {
    errors.check_length(list, items, limits::ROUTES);
    let (prefixes, parsed): (Vec<(FieldPath, Prefix)>, Vec<R>) = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            let path = list.index(index);
            let parsed = parse(&path, item, errors)?;
            Some(((path.field("prefix"), prefix(&parsed)), parsed))
        })
        .unzip();
    errors.check_distinct(&prefixes);
    parsed
}

/// `Some(None)` for a route without a device.
#[expect(
    clippy::option_option,
    reason = "outside: whether it is legal; inside: whether it is there"
)]
pub fn parse_device(
    path: &FieldPath,
    vrf: &str,
    device: Option<&str>,
    errors: &mut Errors,
) -> Option<Option<DeviceName>> {
    let Some(device) = device else {
        return Some(None);
    };
    let path = path.field("device");
    if device == vrf {
        return errors.refuse(
            &path,
            format!("{device} is the VRF that the route leads out of"),
        );
    }
    errors.keep(&path, DeviceName::from_str(device)).map(Some)
}

/// `Some(None)` for a route with the kernel's default, for which 0 stands, too.
#[expect(
    clippy::option_option,
    reason = "outside: whether it is legal; inside: whether it is there"
)]
pub fn parse_metric(
    path: &FieldPath,
    metric: Option<i64>,
    errors: &mut Errors,
) -> Option<Option<u32>> {
    let Some(metric) = metric else {
        return Some(None);
    };
    let parsed = u32::try_from(metric)
        .map_err(|_| format!("{metric} is not a route metric (0-{})", u32::MAX));
    let metric = errors.keep(&path.field("metric"), parsed)?;
    Some(Some(metric).filter(|metric| *metric != 0))
}

/// The fields of a return route.
pub fn parse_return(
    path: &FieldPath,
    prefix: &str,
    source: &str,
    errors: &mut Errors,
) -> Option<(Prefix, IpAddr)> {
    let prefix = errors.keep(&path.field("prefix"), Prefix::from_str(prefix));
    let source = errors.keep(&path.field("source"), parse_source(source));
    Some((prefix?, source?))
}

/// The return route, if its fields fit together.
pub fn in_one_family(
    path: &FieldPath,
    prefix: Prefix,
    source: IpAddr,
    errors: &mut Errors,
) -> Option<ReturnRoute> {
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
