//! `services`: the words are those of a `VrfLeak`.

use std::{collections::BTreeSet, fmt::Display, ops::RangeInclusive};

use serde::{Deserialize, Serialize};
use vrfgate_ebpf::Protocol;

use super::{Port, Prefix, ServiceName};

/// As many as a `VrfLeak` may have.
const SERVICES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 64;
const SOURCES_MAX: usize = 256;

/// A service of a pod that is opened to VRFs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Its name, for status and metrics.
    pub name: ServiceName,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Local port. With `end_port`, the first of a range.
    pub port: Port,
    /// Last port of the range, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<Port>,
    /// Local addresses inside these are opened. Without any: each one that packets of the VRF can have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Prefix>,
    /// Clients that may use the service. Without any: every client of the VRF.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Prefix>,
}

impl Service {
    /// Its local ports.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.port.get()..=self.end_port.unwrap_or(self.port).get()
    }

    /// Whether a packet could be from one of `sources` and for one of `addresses`: both are of one family.
    fn any_client(&self) -> bool {
        self.sources.is_empty()
            || self.addresses.is_empty()
            || self.sources.iter().any(|source| {
                let mut addresses = self.addresses.iter();
                addresses.any(|address| address.is_ipv4() == source.is_ipv4())
            })
    }

    /// Whether both open the same to the same clients, whatever their names are.
    pub(crate) fn opens_the_same(&self, other: &Self) -> bool {
        let set = |list: &[Prefix]| -> BTreeSet<Prefix> { list.iter().copied().collect() };
        self.protocol == other.protocol
            && self.ports() == other.ports()
            && set(&self.addresses) == set(&other.addresses)
            && set(&self.sources) == set(&other.sources)
    }

    /// The first port that both open, on an address that both may be on.
    pub(crate) fn overlap(&self, other: &Self) -> Option<u16> {
        let first = self.port.get().max(other.port.get());
        let last = (*self.ports().end()).min(*other.ports().end());
        // Without a list, it is every address but those that are opened on purpose only.
        let same_address = match (self.addresses.as_slice(), other.addresses.as_slice()) {
            ([], []) => true,
            ([], given) | (given, []) => given.iter().any(|prefix| !prefix.is_on_purpose()),
            (ours, theirs) => ours
                .iter()
                .any(|ours| theirs.iter().any(|theirs| ours.overlaps(*theirs))),
        };
        (self.protocol == other.protocol && first <= last && same_address).then_some(first)
    }
}

/// What one service alone can't tell. The first mistake, with the path of its field.
pub(crate) fn check(services: &[Service]) -> Result<(), String> {
    check_length("services", services, SERVICES_MAX)?;
    for (index, service) in services.iter().enumerate() {
        let path = format!("services[{index}]");
        if let Some(end) = service.end_port.filter(|end| *end < service.port) {
            return Err(format!(
                "{path}.endPort: {end} is below port {}, the first of the range",
                service.port
            ));
        }
        check_prefixes(
            &format!("{path}.addresses"),
            &service.addresses,
            ADDRESSES_MAX,
        )?;
        check_prefixes(&format!("{path}.sources"), &service.sources, SOURCES_MAX)?;
        if !service.any_client() {
            return Err(format!(
                "{path}.sources: none is of the address family of any of addresses, so no client could use the service"
            ));
        }
        for (earlier_index, earlier) in services[..index].iter().enumerate() {
            if earlier.name == service.name {
                return Err(format!(
                    "{path}.name: {} is there already, at services[{earlier_index}].name",
                    service.name
                ));
            }
            if let Some(port) = service.overlap(earlier) {
                return Err(format!(
                    "{path}: opens {port}/{}, which services[{earlier_index}] ({}) opens already",
                    service.protocol, earlier.name
                ));
            }
        }
    }
    Ok(())
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
