//! A leak: what one `VrfLeak` object asks for, parsed.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use super::{DeviceName, LeakName, PortRange, Prefix, Protocol, ServiceName, VrfName};

/// What the gate does with a packet that no rule lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Refuse it.
    #[default]
    Enforce,
    /// Let it in, and count what [`Mode::Enforce`] would have refused.
    Audit,
}

/// How replies of UDP servers find their way back into the VRF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Replies {
    /// By the leak's return routes.
    #[default]
    Route,
    /// By a mark on the connection.
    Steer,
}

/// A leak route, VRF to main: makes local addresses of the main domain reachable from the VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub prefix: Prefix,
    /// Where addresses of the prefix that are not local are sent to; `None` leaves them unrouted.
    pub device: Option<DeviceName>,
    /// Metric of the routes made; `None` is the kernel's default.
    pub metric: Option<u32>,
}

/// A return route, main to VRF: `prefix dev VRF src source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnRoute {
    /// The clients.
    pub prefix: Prefix,
    /// The address that wildcard UDP servers answer from. Of the prefix's family.
    pub source: IpAddr,
}

/// Services of the main domain opened to one VRF.
///
/// Its services open nothing twice. Services of one name are what one reference leads to: they have the same sources,
/// and count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Unique among the leaks of a set.
    pub name: LeakName,
    /// The VRF whose clients are let in.
    pub vrf: VrfName,
    /// What happens to everything else that comes from the VRF.
    pub mode: Mode,
    /// VRF to main.
    pub routes: Vec<Route>,
    /// Main to VRF. Empty under [`Replies::Steer`].
    pub return_routes: Vec<ReturnRoute>,
    /// How UDP replies return.
    pub replies: Replies,
    /// What is opened.
    pub services: Vec<Service>,
}

/// Ports opened on local addresses, to some clients or to all of the VRF's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is counted as.
    pub name: ServiceName,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Local ports.
    pub ports: PortRange,
    /// Local addresses inside these are opened. Never empty.
    pub addresses: Vec<Prefix>,
    /// Clients inside these are let in; empty means every client of the VRF.
    pub sources: Vec<Prefix>,
}

/// What two services both open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Local addresses that both mean.
    pub prefix: Prefix,
    /// Ports that both name.
    pub ports: PortRange,
    /// The protocol of both.
    pub protocol: Protocol,
}

/// `192.0.2.1/32 22/TCP`
impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            prefix,
            ports,
            protocol,
        } = self;
        write!(f, "{prefix} {ports}/{protocol}")
    }
}

/// Whether a packet could be from one of `sources` and for one of `addresses`, which are empty where any will do: both are of one
/// family.
#[must_use]
pub fn any_client(addresses: &[Prefix], sources: &[Prefix]) -> bool {
    let meets = |source: &Prefix| {
        let mut addresses = addresses.iter();
        addresses.any(|address| address.is_ipv4() == source.is_ipv4())
    };
    sources.is_empty() || addresses.is_empty() || sources.iter().any(meets)
}

impl Service {
    /// Whether both open the same to the same clients, whatever their names are.
    #[must_use]
    pub fn opens_the_same(&self, other: &Self) -> bool {
        let set = |list: &[Prefix]| -> BTreeSet<Prefix> { list.iter().copied().collect() };
        (self.protocol, self.ports) == (other.protocol, other.ports)
            && set(&self.addresses) == set(&other.addresses)
            && set(&self.sources) == set(&other.sources)
    }

    /// The first thing that both services open, whatever clients they open it to.
    ///
    /// Sources do not tell services apart: the gate finds one rule by local address and port, and
    /// only then asks who may use it.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<Overlap> {
        if self.protocol != other.protocol {
            return None;
        }
        let ports = self.ports.intersection(other.ports)?;
        let prefix = self.addresses.iter().find_map(|mine| {
            other
                .addresses
                .iter()
                .find_map(|theirs| mine.overlap(*theirs))
        })?;
        Some(Overlap {
            prefix,
            ports,
            protocol: self.protocol,
        })
    }
}
