//! Services as a network configuration and a record of it have them: in the words of a `VrfLeak`.

use std::{fmt::Display, num::NonZeroU16};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{PortRange, Prefix, Protocol, Service, ServiceName, any_client};

/// As many as a `VrfLeak` may have.
const SERVICES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 64;
const SOURCES_MAX: usize = 256;

/// A service of a pod that is opened to VRFs, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceWords {
    /// Its name, for status and metrics.
    name: ServiceName,
    /// Its transport protocol.
    protocol: Protocol,
    /// Local port. With `end_port`, the first of a range.
    port: Port,
    /// Last port of the range, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_port: Option<Port>,
    /// Local addresses inside these are opened. Without any: each one that packets of the VRF can have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Prefix>,
    /// Clients that may use the service. Without any: every client of the VRF.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<Prefix>,
}

/// A port, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
struct Port(NonZeroU16);

impl TryFrom<i64> for Port {
    type Error = String;

    fn try_from(port: i64) -> Result<Self, String> {
        let hint = if port == 0 {
            "; every port is port: 1, endPort: 65535"
        } else {
            ""
        };
        u16::try_from(port)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or_else(|| format!("{port} is not a port (1-65535){hint}"))
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.0.get()
    }
}

impl From<&Service> for ServiceWords {
    fn from(service: &Service) -> Self {
        let Service {
            name,
            protocol,
            ports,
            addresses,
            sources,
        } = service;
        let [port, end] = ports.ends().map(Port);
        Self {
            name: name.clone(),
            protocol: *protocol,
            port,
            end_port: (end != port).then_some(end),
            addresses: if addresses == &Prefix::EVERY {
                Vec::new()
            } else {
                addresses.clone()
            },
            sources: sources.clone(),
        }
    }
}

/// What one value alone can't tell. The first mistake, with the path of its field below `services`.
pub fn services(words: Vec<ServiceWords>) -> Result<Vec<Service>, String> {
    check_length("services", &words, SERVICES_MAX)?;
    let mut services: Vec<Service> = Vec::new();
    for (index, words) in words.into_iter().enumerate() {
        let path = format!("services[{index}]");
        let service = service(&path, words)?;
        for (earlier_index, earlier) in services.iter().enumerate() {
            if earlier.name == service.name {
                return Err(format!(
                    "{path}.name: {} is there already, at services[{earlier_index}].name",
                    service.name
                ));
            }
            if let Some(overlap) = service.overlap(earlier) {
                return Err(format!(
                    "{path}: opens {}/{}, which services[{earlier_index}] ({}) opens already",
                    overlap.ports.first(),
                    service.protocol,
                    earlier.name
                ));
            }
        }
        services.push(service);
    }
    Ok(services)
}

fn service(path: &str, words: ServiceWords) -> Result<Service, String> {
    let ServiceWords {
        name,
        protocol,
        port,
        end_port,
        addresses,
        sources,
    } = words;
    let Port(first) = port;
    let Port(last) = end_port.unwrap_or(port);
    let ports = PortRange::new(first, last).ok_or_else(|| {
        format!("{path}.endPort: {last} is below port {first}, the first of the range")
    })?;
    check_prefixes(&format!("{path}.addresses"), &addresses, ADDRESSES_MAX)?;
    check_prefixes(&format!("{path}.sources"), &sources, SOURCES_MAX)?;
    let service = Service {
        name,
        protocol,
        ports,
        addresses: if addresses.is_empty() {
            Prefix::EVERY.to_vec()
        } else {
            addresses
        },
        sources,
    };
    if any_client(&service.addresses, &service.sources) {
        Ok(service)
    } else {
        Err(format!(
            "{path}.sources: none is of the address family of any of addresses, so no client could use the service"
        ))
    }
}

fn check_prefixes(path: &str, prefixes: &[Prefix], max: usize) -> Result<(), String> {
    check_length(path, prefixes, max)?;
    check_distinct(path, prefixes)
}

fn check_length<T>(path: &str, list: &[T], max: usize) -> Result<(), String> {
    if list.len() > max {
        return Err(format!(
            "{path}: has {} entries; at most {max} are allowed",
            list.len()
        ));
    }
    Ok(())
}

fn check_distinct<T: Display + PartialEq>(path: &str, list: &[T]) -> Result<(), String> {
    for (index, value) in list.iter().enumerate() {
        if let Some(earlier) = list[..index].iter().position(|other| other == value) {
            return Err(format!(
                "{path}[{index}]: {value} is there already, at {path}[{earlier}]"
            ));
        }
    }
    Ok(())
}

/// For serde.
pub(crate) fn serialize<S: Serializer>(services: &[Service], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(services.iter().map(ServiceWords::from))
}

/// For serde.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Service>, D::Error> {
    services(Vec::deserialize(from)?).map_err(D::Error::custom)
}
