//! What is asked, and what the kernel answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use vrfgate_ebpf::{GateStatus, L3mdevAccept, OpenSocket, Protocol};

use super::PolicyRule;
use vrfgate_core::{Link, LinkKind, NodeFacts, VrfName};

/// The first packet of a client: a connection to be made, or a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The VRF it comes through.
    pub vrf: VrfName,
    /// The client. With an address of this host, a process of it whose socket is bound to the VRF.
    pub from: IpAddr,
    /// What it wants to reach.
    pub to: SocketAddr,
    /// How.
    pub protocol: Protocol,
}

impl Question {
    /// A question whose parts fit together. `to` is written as in `192.0.2.1:22/tcp`.
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

/// Why something is no question.
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
        /// What it wants to reach.
        to: IpAddr,
    },
    /// Group datagrams take another way.
    #[error("{0} is multicast, which is delivered without a socket look-up")]
    Multicast(IpAddr),
}

/// Everything that decides a packet's fate.
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
    /// The switches as they are.
    pub accept: L3mdevAccept,
    /// Listeners and bound UDP sockets.
    pub sockets: Vec<OpenSocket>,
    /// Who has them.
    pub processes: Processes,
}

/// The ways back, each without and with the asked address as source.
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

/// Answers that are routed by the VRF's table, whatever the main one says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steered {
    /// What they are marked with, and the bits that count.
    pub mark: (u32, u32),
    /// Rules of the gate whose answers they are, as `leak/service`.
    pub rules: Vec<String>,
}

/// The kernel's answer to "which route?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This one.
    Route(RouteFact),
    /// None.
    None(NoWay),
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// No table has one (`ENETUNREACH`).
    NoRoute,
    /// A route or rule says so, or this host forwards nothing (`EHOSTUNREACH`).
    Unreachable,
    /// A route or rule says so (`EACCES`).
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
    /// What it is for; `None` where the kernel tells of the resolved route only.
    pub prefix: Option<IpNet>,
    /// Where it leads out.
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
    /// Drops it without a word.
    Blackhole,
    /// Ends this table's part of the look-up.
    Throw,
    /// Broadcast, anycast, …
    Other,
}

impl RouteKind {
    /// As ip(8) writes it before the prefix.
    pub(super) const fn word(self) -> &'static str {
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
pub(super) struct Vrf<'a> {
    pub(super) link: &'a Link,
    pub(super) table: u32,
    /// The client is a process of this host, bound to the VRF.
    pub(super) local_client: bool,
}

impl Facts {
    pub(super) fn link(&self, ifindex: u32) -> Option<&Link> {
        self.node.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// Name of a device, for people.
    pub(super) fn device_text(&self, ifindex: u32) -> String {
        self.link(ifindex)
            .map_or_else(|| format!("if{ifindex}"), |link| link.name.clone())
    }

    pub(super) fn slaves(&self, vrf: u32) -> impl Iterator<Item = &Link> {
        self.node
            .links
            .iter()
            .filter(move |link| link.master == Some(vrf))
    }

    /// Whether a device is the VRF or one of its slaves.
    pub(super) fn is_inside(&self, device: u32, vrf: u32) -> bool {
        device == vrf || self.slaves(vrf).any(|slave| slave.ifindex == device)
    }

    /// The VRF that a device is, or is a slave of.
    pub(super) fn vrf_of(&self, device: u32) -> Option<&Link> {
        let link = self.link(device)?;
        match (link.kind, link.master) {
            (LinkKind::Vrf { .. }, _) => Some(link),
            (LinkKind::Other, Some(master)) => self
                .link(master)
                .filter(|master| matches!(master.kind, LinkKind::Vrf { .. })),
            (LinkKind::Other, None) => None,
        }
    }

    /// Whether an address belongs to this host, and the device that holds it.
    pub(super) fn holder(&self, address: IpAddr) -> Option<u32> {
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

    pub(super) fn accepts(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.accept.tcp,
            Protocol::Udp => self.accept.udp,
        }
        .unwrap_or(false)
    }

    /// A route as ip(8) writes it.
    pub(super) fn route(&self, route: &RouteFact) -> String {
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

/// The kernel's own tables have names.
pub(super) fn table_name(table: u32) -> String {
    match table {
        255 => "local".to_owned(),
        254 => "main".to_owned(),
        253 => "default".to_owned(),
        number => number.to_string(),
    }
}
