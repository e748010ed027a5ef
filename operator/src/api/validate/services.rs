//! `spec.services`.

use std::{num::NonZeroU16, str::FromStr};

use vrfgate_core::{
    PortRange, Prefix, Protocol, Reference, Route, Service, ServiceKey, ServiceName, any_client,
};

use super::{Place, errors::Errors};
use crate::api::{
    field::FieldPath,
    limits,
    types::{ServiceRef, ServiceSpec},
    words,
};

/// What a service that lists no addresses takes from `spec.routes`.
pub struct Defaults {
    /// Whether there is any route, legal or not.
    pub any_route: bool,
    /// The prefixes of the legal ones.
    pub prefixes: Vec<Prefix>,
}

impl Defaults {
    /// Of `routes`, which are the legal ones.
    pub fn new(any_route: bool, routes: &[Route]) -> Self {
        Self {
            any_route,
            prefixes: routes.iter().map(|route| route.prefix).collect(),
        }
    }
}

/// What a leak opens.
pub struct Services {
    /// Given directly.
    pub direct: Vec<Service>,
    /// Given by a Service of Kubernetes.
    pub references: Vec<Reference>,
}

/// The services that are legal; the others are noted.
pub fn parse_services(
    spec: &FieldPath,
    services: &[ServiceSpec],
    defaults: &Defaults,
    place: Place,
    errors: &mut Errors,
) -> Services {
    let list = spec.field("services");
    errors.check_length(&list, services, limits::SERVICES);
    let mut direct: Vec<(FieldPath, Service)> = Vec::new();
    let mut references = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let path = list.index(index);
        if let Some(reference) = &service.service_ref {
            references.extend(parse_reference(&path, service, reference, place, errors));
        } else if let Some(service) = parse_service(&path, service, defaults, errors) {
            direct.push((path, service));
        }
    }
    let names: Vec<(FieldPath, &str)> = services
        .iter()
        .enumerate()
        .map(|(index, service)| (list.index(index).field("name"), service.name.as_str()))
        .collect();
    errors.check_distinct(&names);
    check_overlaps(&direct, errors);
    Services {
        direct: direct.into_iter().map(|(_, service)| service).collect(),
        references,
    }
}

fn parse_service(
    path: &FieldPath,
    service: &ServiceSpec,
    defaults: &Defaults,
    errors: &mut Errors,
) -> Option<Service> {
    let ServiceSpec {
        name,
        protocol,
        port,
        end_port,
        addresses,
        sources,
        service_ref: _,
    } = service;
    let name = errors.keep(&path.field("name"), ServiceName::from_str(name));
    let sources = parse_prefixes(&path.field("sources"), sources, limits::SOURCES, errors);
    let protocol = parse_protocol(&path.field("protocol"), protocol.as_deref(), errors);
    let ports = parse_ports(path, *port, *end_port, errors);
    let given = !addresses.is_empty();
    let addresses = parse_addresses(&path.field("addresses"), addresses, defaults, errors);
    if let (Some(addresses), Some(sources)) = (&addresses, &sources)
        // An address that is wrong has its own complaint.
        && !any_client(addresses, sources)
    {
        let of = if given { "addresses" } else { "routes" };
        errors.add(
            &path.field("sources"),
            format!(
                "none is of the address family of any of {of}, so no client could use the service"
            ),
        );
    }
    Some(Service {
        name: name?,
        protocol: protocol?,
        ports: ports?,
        addresses: addresses?,
        sources: sources?,
    })
}

/// Fields that no reference may stand beside are noted everywhere; a machine without Kubernetes has no
/// Services to refer to at all.
fn parse_reference(
    path: &FieldPath,
    service: &ServiceSpec,
    reference: &ServiceRef,
    place: Place,
    errors: &mut Errors,
) -> Option<Reference> {
    let ServiceSpec {
        name,
        protocol,
        port,
        end_port,
        addresses,
        sources,
        service_ref: _,
    } = service;
    let name = errors.keep(&path.field("name"), ServiceName::from_str(name));
    let sources = parse_prefixes(&path.field("sources"), sources, limits::SOURCES, errors);
    let beside = [
        ("protocol", protocol.is_some()),
        ("port", port.is_some()),
        ("endPort", end_port.is_some()),
        ("addresses", !addresses.is_empty()),
    ];
    for (field, given) in beside {
        if given {
            errors.add(
                &path.field(field),
                "must not stand beside serviceRef, which takes it from the Service's endpoints",
            );
        }
    }
    if place != Place::Cluster {
        errors.add(
            &path.field("serviceRef"),
            "needs Kubernetes; without it, write protocol, port and addresses",
        );
    }
    let ServiceRef {
        namespace,
        name: service,
        ports,
    } = reference;
    if place == Place::Cluster {
        check_reference(&path.field("serviceRef"), reference, errors);
    }
    Some(Reference {
        name: name?,
        service: ServiceKey {
            namespace: namespace.clone(),
            name: service.clone(),
        },
        ports: ports.clone(),
        sources: sources?,
    })
}

/// Refuses names that no Service, namespace or port can have: the reference would never be resolved.
fn check_reference(path: &FieldPath, reference: &ServiceRef, errors: &mut Errors) {
    let ServiceRef {
        namespace,
        name,
        ports,
    } = reference;
    for (field, name) in [("namespace", namespace), ("name", name)] {
        // Both are RFC 1123 labels, as the names of our services are.
        errors.keep(&path.field(field), ServiceName::from_str(name));
    }
    let list = path.field("ports");
    errors.check_length(&list, ports, limits::SERVICE_REF_PORTS);
    let ports: Vec<(FieldPath, &str)> = ports
        .iter()
        .enumerate()
        .map(|(index, port)| (list.index(index), port.as_str()))
        .collect();
    for (path, port) in &ports {
        errors.keep(path, ServiceName::from_str(port));
    }
    errors.check_distinct(&ports);
}

pub fn parse_protocol(
    path: &FieldPath,
    protocol: Option<&str>,
    errors: &mut Errors,
) -> Option<Protocol> {
    let parsed = match protocol {
        Some(word) => words::parse(word, &words::PROTOCOLS),
        None => Err(format!(
            "is required: {}",
            words::alternatives(&words::PROTOCOLS)
        )),
    };
    errors.keep(path, parsed)
}

pub fn parse_ports(
    path: &FieldPath,
    port: Option<i64>,
    end_port: Option<i64>,
    errors: &mut Errors,
) -> Option<PortRange> {
    let port_path = path.field("port");
    let end_path = path.field("endPort");
    let (first, last) = match (port, end_port) {
        (Some(port), None) => {
            let only = errors.keep(&port_path, parse_port(port));
            (only, only)
        }
        (Some(port), Some(end_port)) => (
            errors.keep(&port_path, parse_port(port)),
            errors.keep(&end_path, parse_port(end_port)),
        ),
        (None, Some(_)) => {
            return errors.refuse(&end_path, "needs port, the first of the range");
        }
        (None, None) => return errors.refuse(&port_path, "is required without serviceRef"),
    };
    let (first, last) = (first?, last?);
    let range = PortRange::new(first, last)
        .ok_or_else(|| format!("{last} is below port {first}, the first of the range"));
    errors.keep(&end_path, range)
}

fn parse_port(port: i64) -> Result<NonZeroU16, String> {
    u16::try_from(port)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| {
            let hint = if port == 0 {
                "; every port is port: 1, endPort: 65535"
            } else {
                ""
            };
            format!("{port} is not a port (1-65535){hint}")
        })
}

pub fn parse_addresses(
    path: &FieldPath,
    addresses: &[String],
    defaults: &Defaults,
    errors: &mut Errors,
) -> Option<Vec<Prefix>> {
    if !addresses.is_empty() {
        return parse_prefixes(path, addresses, limits::ADDRESSES, errors);
    }
    if !defaults.any_route {
        return errors.refuse(path, "is required, because spec.routes is empty");
    }
    Some(defaults.prefixes.clone())
}

/// All the prefixes, or nothing if any is wrong: a list that lacks some would mean another thing.
pub fn parse_prefixes(
    path: &FieldPath,
    prefixes: &[String],
    max: usize,
    errors: &mut Errors,
) -> Option<Vec<Prefix>> {
    errors.check_length(path, prefixes, max);
    let parsed: Vec<(FieldPath, Prefix)> = prefixes
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let path = path.index(index);
            let prefix = errors.keep(&path, Prefix::from_str(text))?;
            Some((path, prefix))
        })
        .collect();
    errors.check_distinct(&parsed);
    (parsed.len() == prefixes.len()).then(|| parsed.into_iter().map(|(_, prefix)| prefix).collect())
}

/// The gate holds one rule for an address and port. Of each service only the first overlap is
/// noted: the next one shows once it is corrected, and a list copied twice does not fill the screen.
pub fn check_overlaps(services: &[(FieldPath, Service)], errors: &mut Errors) {
    for (index, (path, later)) in services.iter().enumerate() {
        let found = services[..index]
            .iter()
            .find_map(|(path, earlier)| Some((path, earlier, later.overlap(earlier)?)));
        if let Some((earlier_path, earlier, overlap)) = found {
            errors.add(
                path,
                format!(
                    "opens {overlap}, which {earlier_path} ({}) opens already",
                    earlier.name
                ),
            );
        }
    }
}
