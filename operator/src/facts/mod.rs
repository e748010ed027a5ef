//! Facts about one namespace and one packet beyond those of the core: sockets and their processes, policy rules, the
//! kernel's answers about a route. And what follows from them alone: ports that clash, listeners that a change closes,
//! VRFs whose look-ups go on in other tables.
//!
//! Plain values. `node` asks the kernel for them; `explain` and `node` judge them.

mod access;
mod beyond;
mod clashes;
mod policy;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use vrfgate_core::{Link, LinkKind, NodeFacts, OpenSocket, Protocol, VrfName};
use vrfgate_ebpf::{GateStatus, L3mdevAccept};

pub use self::{
    access::{Access, Closed, closed},
    beyond::{end_of_table, goes_on},
    clashes::{Clash, Party, clashes},
    policy::{PolicyRule, RuleAction},
};
pub(crate) use policy::{LOCAL_TABLE, table_name};

/// The first packet of a client: a connection to be made, or a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The VRF it comes through.
    pub vrf: VrfName,
    /// The client. With an address of this host, a process of it whose socket is bound to the VRF.
    pub from: IpAddr,
    /// The destination.
    pub to: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

impl Question {
    /// Parses and checks a question. `to` is written as in `192.0.2.1:22/tcp`.
    pub fn new(vrf: VrfName, from: IpAddr, to: &str) -> Result<Self, QuestionError> {
        let malformed = || QuestionError::Destination(to.to_owned());
        let (address, protocol) = to.rsplit_once('/').ok_or_else(malformed)?;
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(malformed()),
        };
        let to_address = SocketAddr::from_str(address).map_err(|_| malformed())?;
        if to_address.port() == 0 || to_address.ip().is_unspecified() {
            return Err(malformed());
        }
        if from.is_ipv4() != to_address.is_ipv4() {
            return Err(QuestionError::Families {
                from,
                to: to_address.ip(),
            });
        }
        for address in [from, to_address.ip()] {
            if address.is_multicast() {
                return Err(QuestionError::Multicast(address));
            }
        }
        Ok(Self {
            vrf,
            from,
            to: to_address,
            protocol,
        })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vrf,
            from,
            to,
            protocol,
        } = self;
        write!(f, "{protocol} from {from} in VRF {vrf} to {to}")
    }
}

/// Why a question is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not an address, a port and a protocol.
    #[error("{0:?} is not a destination such as 192.0.2.1:22/tcp or [2001:db8::1]:53/udp")]
    Destination(String),
    /// One IPv4, the other IPv6.
    #[error("{from} and {to} are not of one address family")]
    Families {
        /// The client.
        from: IpAddr,
        /// The destination.
        to: IpAddr,
    },
    /// Multicast is delivered without a socket look-up.
    #[error("{0} is multicast, which is delivered without a socket look-up")]
    Multicast(IpAddr),
}

/// Everything that decides what becomes of a packet.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Links and addresses.
    pub node: NodeFacts,
    /// Links that can't carry packets, by ifindex: set down, or without a carrier.
    pub down: BTreeSet<u32>,
    /// The policy database of the packet's family, in the kernel's order.
    pub rules: Vec<PolicyRule>,
    /// What the kernel does with a packet of the VRF for the destination, or of a socket that is bound to the VRF
    /// where the client is on this host. `None` without the VRF.
    pub arrival: Option<Answer>,
    /// Routes that end a look-up (`unreachable` and kin) and hold the destination, of the tables that the
    /// rules name. Asked for only when the kernel knows no way.
    pub dead_ends: Vec<RouteFact>,
    /// How the kernel sends to the client.
    pub replies: Replies,
    /// Reply steering of the VRF, where a leak asks for it.
    pub steered: Option<Steered>,
    /// Leaks of the VRF that can't be put into force, by name, and why.
    pub failed: Vec<(String, String)>,
    /// The gate in force.
    pub gate: Option<GateStatus>,
    /// Why a gate that should be there isn't.
    pub gate_trouble: Option<String>,
    /// The sysctls now.
    pub accept: L3mdevAccept,
    /// Listeners and bound UDP sockets.
    pub sockets: Vec<OpenSocket>,
    /// Their processes.
    pub processes: Processes,
}

/// Routes to the client, each without and with the asked address as source.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    /// Of a socket bound to the VRF, which leaves the source to the kernel.
    pub vrf: Option<Answer>,
    /// Of a socket bound to the VRF, from the asked address.
    pub vrf_from: Option<Answer>,
    /// Of an unbound socket, which leaves the source to the kernel.
    pub main: Option<Answer>,
    /// Of an unbound socket, from the asked address.
    pub main_from: Option<Answer>,
}

/// Replies that are routed by the VRF's table, whatever the main table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steered {
    /// Their mark and its mask.
    pub mark: (u32, u32),
    /// The gate's rules whose replies are steered, as `leak/service`.
    pub rules: Vec<String>,
}

/// The kernel's answer to "which route?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This route.
    Route(RouteFact),
    /// No route.
    None(NoWay),
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// No table has one (`ENETUNREACH`).
    NoRoute,
    /// A route or rule is `unreachable`, or this host forwards nothing (`EHOSTUNREACH`).
    Unreachable,
    /// A route or rule is `prohibit` (`EACCES`).
    Prohibited,
    /// The reverse path filter (`EXDEV`).
    ReversePath,
    /// A source that can't be, or a blackhole (`EINVAL`).
    Invalid,
    /// Anything else, in the system's words.
    Other(String),
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFact {
    /// What it does.
    pub kind: RouteKind,
    /// The table it is in.
    pub table: u32,
    /// Its destination; `None` where the kernel shows the resolved route only.
    pub prefix: Option<IpNet>,
    /// The device it leads out by.
    pub device: Option<u32>,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The source address the kernel would choose.
    pub source: Option<IpAddr>,
}

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Delivers it to this host.
    Local,
    /// Sends it on.
    Unicast,
    /// Answers "unreachable".
    Unreachable,
    /// Answers "prohibited".
    Prohibit,
    /// Drops it silently.
    Blackhole,
    /// Ends the look-up in this table.
    Throw,
    /// Broadcast, anycast, …
    Other,
}

impl RouteKind {
    /// As ip(8) writes it before the prefix.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Local => "local ",
            Self::Unicast | Self::Other => "",
            Self::Unreachable => "unreachable ",
            Self::Prohibit => "prohibit ",
            Self::Blackhole => "blackhole ",
            Self::Throw => "throw ",
        }
    }
}

/// Names of processes by the inode of a socket of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes(pub BTreeMap<u32, String>);

impl Processes {
    /// The process, else the socket's inode.
    #[must_use]
    pub fn of(&self, socket: &OpenSocket) -> String {
        self.0
            .get(&socket.inode)
            .cloned()
            .unwrap_or_else(|| format!("socket {}", socket.inode))
    }
}

/// The VRF of a question, as the facts have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vrf<'a> {
    pub(crate) link: &'a Link,
    pub(crate) table: u32,
    /// The client is a process of this host, bound to the VRF.
    pub(crate) local_client: bool,
}

impl Facts {
    pub(crate) fn link(&self, ifindex: u32) -> Option<&Link> {
        link(&self.node, ifindex)
    }

    /// Name of a device, for people.
    pub(crate) fn device_text(&self, ifindex: u32) -> String {
        device_text(&self.node, ifindex)
    }

    pub(crate) fn slaves(&self, vrf: u32) -> impl Iterator<Item = &Link> {
        self.node
            .links
            .iter()
            .filter(move |link| link.master == Some(vrf))
    }

    /// Whether a device is the VRF or one of its slaves.
    pub(crate) fn is_inside(&self, device: u32, vrf: u32) -> bool {
        device == vrf || self.slaves(vrf).any(|slave| slave.ifindex == device)
    }

    /// The VRF that a device is, or is a slave of.
    pub(crate) fn vrf_of(&self, device: u32) -> Option<&Link> {
        vrf_of(&self.node, device)
    }

    /// Whether an address belongs to this host, and the device that holds it.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<u32> {
        let single = self.node.addresses.iter();
        let whole = self.node.prefixes.iter();
        single
            .filter(|local| local.address == address)
            .map(|local| local.ifindex)
            .chain(
                whole
                    .filter(|local| local.prefix.contains(address))
                    .map(|local| local.ifindex),
            )
            .next()
    }

    pub(crate) fn accepts(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.accept.tcp,
            Protocol::Udp => self.accept.udp,
        }
        .unwrap_or(false)
    }

    /// A route as ip(8) writes it.
    pub(crate) fn route(&self, route: &RouteFact) -> String {
        let RouteFact {
            kind,
            table,
            prefix,
            device,
            gateway,
            source,
        } = route;
        let prefix = match prefix {
            None => "a route".to_owned(),
            Some(prefix) if prefix.prefix_len() == 0 => "default".to_owned(),
            Some(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
                prefix.addr().to_string()
            }
            Some(prefix) => prefix.to_string(),
        };
        let parts = [
            Some(format!("{}{prefix}", kind.word())),
            gateway.map(|gateway| format!("via {gateway}")),
            device.map(|device| format!("dev {}", self.device_text(device))),
            source.map(|source| format!("src {source}")),
            Some(format!("table {}", table_name(*table))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn link(node: &NodeFacts, ifindex: u32) -> Option<&Link> {
    node.links.iter().find(|link| link.ifindex == ifindex)
}

/// Name of a device, for people.
pub(crate) fn device_text(node: &NodeFacts, ifindex: u32) -> String {
    link(node, ifindex).map_or_else(|| format!("if{ifindex}"), |link| link.name.clone())
}

/// The VRF that a device is, or is a slave of.
fn vrf_of(node: &NodeFacts, device: u32) -> Option<&Link> {
    let found = link(node, device)?;
    match (found.kind, found.master) {
        (LinkKind::Vrf { .. }, _) => Some(found),
        (LinkKind::Other, Some(master)) => link(node, master).filter(|master| master.is_vrf()),
        (LinkKind::Other, None) => None,
    }
}
