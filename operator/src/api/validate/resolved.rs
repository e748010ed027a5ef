//! A leak that a controller has resolved for one node.
//!
//! More lenient than for a [`VrfLeak`](crate::api::VrfLeak): something that can have no effect, and does no harm, is
//! refused where its author sees it. A node that gets it, perhaps from an older controller, puts the rest into force.

use std::{collections::BTreeMap, str::FromStr};

use vrfgate_core::{Leak, Prefix, Route, Service, ServiceName, VrfName};

use super::{
    check_replies,
    errors::Errors,
    parse_name,
    routes::{in_one_family, parse_device, parse_list, parse_metric, parse_return},
    services::{
        Defaults, check_overlaps, parse_addresses, parse_ports, parse_prefixes, parse_protocol,
    },
};
use crate::api::{
    field::{FieldError, FieldPath},
    gate_node::{GateLeak, GateReturnRoute, GateRoute, GateService},
    limits, words,
};

/// Parses a resolved leak. Errors have the paths of a `VrfLeak`.
pub fn parse_resolved(leak: &GateLeak) -> Result<Leak, Vec<FieldError>> {
    let GateLeak {
        name,
        generation: _,
        vrf,
        mode,
        replies,
        routes,
        return_routes,
        services,
    } = leak;
    let mut errors = Errors::default();
    let spec = FieldPath::root().field("spec");

    let name = parse_name(Some(name), &mut errors);
    let vrf_name = errors.keep(&spec.field("vrf"), VrfName::from_str(vrf));
    let mode = errors.keep(&spec.field("mode"), words::parse(mode, &words::MODES));
    let leak_routes = parse_list(
        &spec.field("routes"),
        routes,
        &mut errors,
        |path, route, errors| parse_route(path, vrf, route, errors),
        |route| route.prefix,
    );
    let replies = errors.keep(
        &spec.field("replies"),
        words::parse(replies, &words::REPLIES),
    );
    let return_routes = parse_list(
        &spec.field("returnRoutes"),
        return_routes,
        &mut errors,
        |path, GateReturnRoute { prefix, source }, errors| {
            let (prefix, source) = parse_return(path, prefix, source, errors)?;
            in_one_family(path, prefix, source, errors)
        },
        |route| route.prefix,
    );
    check_replies(&spec, replies, &return_routes, &mut errors);
    let defaults = Defaults::new(!routes.is_empty(), &leak_routes);
    let services = parse_services(&spec, services, &defaults, &mut errors);

    let parsed = || {
        Some(Leak {
            name: name?,
            vrf: vrf_name?,
            mode: mode?,
            routes: leak_routes,
            return_routes,
            replies: replies?,
            services,
        })
    };
    errors.finish(parsed())
}

fn parse_route(
    path: &FieldPath,
    vrf: &str,
    route: &GateRoute,
    errors: &mut Errors,
) -> Option<Route> {
    let GateRoute {
        prefix,
        device,
        metric,
    } = route;
    let prefix = errors.keep(&path.field("prefix"), Prefix::from_str(prefix));
    let device = parse_device(path, vrf, device.as_deref(), errors);
    let metric = parse_metric(path, *metric, errors);
    Some(Route {
        prefix: prefix?,
        device: device?,
        metric: metric?,
    })
}

/// There may be more than a `VrfLeak` can list, and several of one name: a reference becomes one service for each port.
fn parse_services(
    spec: &FieldPath,
    services: &[GateService],
    defaults: &Defaults,
    errors: &mut Errors,
) -> Vec<Service> {
    let list = spec.field("services");
    let parsed: Vec<(FieldPath, Service)> = services
        .iter()
        .enumerate()
        .filter_map(|(index, service)| {
            let path = list.index(index);
            let service = parse_service(&path, service, defaults, errors)?;
            Some((path, service))
        })
        .collect();
    check_sources(&parsed, errors);
    check_overlaps(&parsed, errors);
    parsed.into_iter().map(|(_, service)| service).collect()
}

fn parse_service(
    path: &FieldPath,
    service: &GateService,
    defaults: &Defaults,
    errors: &mut Errors,
) -> Option<Service> {
    let GateService {
        name,
        protocol,
        port,
        end_port,
        addresses,
        sources,
    } = service;
    let name = errors.keep(&path.field("name"), ServiceName::from_str(name));
    let sources = parse_prefixes(&path.field("sources"), sources, limits::SOURCES, errors);
    let protocol = parse_protocol(&path.field("protocol"), Some(protocol), errors);
    let ports = parse_ports(path, Some(*port), Some(*end_port), errors);
    let addresses = parse_addresses(&path.field("addresses"), addresses, defaults, errors);
    Some(Service {
        name: name?,
        protocol: protocol?,
        ports: ports?,
        addresses: addresses?,
        sources: sources?,
    })
}

/// Services of one name are one rule of the gate, which has one list of clients.
fn check_sources(services: &[(FieldPath, Service)], errors: &mut Errors) {
    let mut sources: BTreeMap<&ServiceName, &[Prefix]> = BTreeMap::new();
    for (path, service) in services {
        let of_name = sources.entry(&service.name).or_insert(&service.sources);
        if *of_name != service.sources.as_slice() {
            errors.add(
                &path.field("sources"),
                format!("differ from those of another service {}", service.name),
            );
        }
    }
}
