//! What of a VRF's packets unbound listeners get, before a change and after it: which listeners a gate closes to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    ops::RangeInclusive,
};

use vrfgate_ebpf::{L3mdevAccept, Mode, OpenSocket, Opening, Protocol, VrfStatus};

use super::{Processes, sockets::takes_address};
use vrfgate_core::{self, GatedVrf, Prefix};

/// What a VRF's clients may have of unbound listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything, of the protocols whose sysctl is 1.
    All {
        /// `tcp_l3mdev_accept`
        tcp: bool,
        /// `udp_l3mdev_accept`
        udp: bool,
    },
    /// What is listed, whoever may use it.
    Listed(Vec<Opening>),
}

impl Access {
    /// What there is without a gate, and for VRFs that no leak names.
    #[must_use]
    pub fn ungated(sysctls: L3mdevAccept) -> Self {
        Self::All {
            tcp: sysctls.tcp == Some(true),
            udp: sysctls.udp == Some(true),
        }
    }

    /// What a gate lets through that is in force, with these values of the sysctls now and before it.
    #[must_use]
    pub fn in_force(vrf: &VrfStatus, now: L3mdevAccept, former: L3mdevAccept) -> Self {
        match vrf.mode {
            Mode::AsBefore => Self::ungated(former),
            Mode::Audit => Self::ungated(now),
            Mode::Enforce => {
                let rules = vrf.rules.iter();
                Self::Listed(rules.flat_map(|status| status.rule.opens.clone()).collect())
            }
        }
    }

    /// What a gate would let through. `udp` is whether `udp_l3mdev_accept` is 1 then.
    #[must_use]
    pub fn asked_for(vrf: &GatedVrf, former: L3mdevAccept, udp: bool) -> Self {
        match (vrf.named_by_leak, vrf.mode) {
            (false, _) => Self::ungated(former),
            (true, vrfgate_core::Mode::Audit) => Self::All { tcp: true, udp },
            (true, vrfgate_core::Mode::Enforce) => {
                let services = vrf.services.iter().map(|service| Opening {
                    protocol: match service.protocol {
                        vrfgate_core::Protocol::Tcp => Protocol::Tcp,
                        vrfgate_core::Protocol::Udp => Protocol::Udp,
                    },
                    ports: service.ports.first()..=service.ports.last(),
                    addresses: service.addresses.clone(),
                    prefixes: service.prefixes.iter().copied().map(Prefix::into).collect(),
                });
                Self::Listed(services.collect())
            }
        }
    }

    /// Whether ports are open on an address, all of them by one entry.
    #[must_use]
    pub fn admits(&self, protocol: Protocol, address: IpAddr, ports: &RangeInclusive<u16>) -> bool {
        match self {
            Self::All { tcp, udp } => match protocol {
                Protocol::Tcp => *tcp,
                Protocol::Udp => *udp,
            },
            Self::Listed(list) => list.iter().any(|entry| {
                entry.protocol == protocol
                    && entry.ports.start() <= ports.start()
                    && ports.end() <= entry.ports.end()
                    && (entry.addresses.contains(&address)
                        || entry.prefixes.iter().any(|net| net.contains(&address)))
            }),
        }
    }
}

/// A listener that clients of a VRF reach no more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed {
    /// What it speaks.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// Its local address; `*` for a wildcard of both families.
    pub address: String,
    /// Its process, else the inode of its socket.
    pub process: String,
    /// Where it is closed, if it stays open elsewhere.
    pub only_on: Vec<IpAddr>,
}

/// `TCP port 22 of sshd (process 812) on 0.0.0.0`
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            port,
            address,
            process,
            only_on,
        } = self;
        write!(f, "{protocol} port {port} of {process} on {address}")?;
        if !only_on.is_empty() {
            let addresses: Vec<String> = only_on.iter().map(ToString::to_string).collect();
            write!(f, " (at {} only)", addresses.join(", "))?;
        }
        Ok(())
    }
}

/// Unbound listeners that clients of a VRF reach `before` at one of `reachable`, and not `after`. Sorted.
///
/// What listens on loopback alone is reached by nobody. A wildcard's link-local addresses are nobody's way to it that
/// has another.
#[must_use]
pub fn closed(
    sockets: &[OpenSocket],
    reachable: &BTreeSet<IpAddr>,
    before: &Access,
    after: &Access,
    processes: &Processes,
) -> Vec<Closed> {
    let mut found: BTreeMap<(Protocol, u16, String), Closed> = BTreeMap::new();
    let unbound = sockets
        .iter()
        .filter(|socket| socket.device.is_none() && socket.peer.is_none());
    for socket in unbound {
        let wildcard = socket.address.is_unspecified();
        let port = socket.port..=socket.port;
        let hears: Vec<IpAddr> = reachable
            .iter()
            .copied()
            .filter(|address| !address.is_loopback() && takes_address(socket, *address))
            .filter(|address| !(wildcard && is_link_local(*address)))
            .collect();
        let open = |access: &Access, address| access.admits(socket.protocol, address, &port);
        let closed: Vec<IpAddr> = hears
            .iter()
            .copied()
            .filter(|address| open(before, *address) && !open(after, *address))
            .collect();
        if closed.is_empty() {
            continue;
        }
        let stays_open = hears.iter().any(|address| open(after, *address));
        let address = if socket.dual_stack {
            "*".to_owned()
        } else {
            socket.address.to_string()
        };
        // Several of one port share it (SO_REUSEPORT): one line, of the first.
        found
            .entry((socket.protocol, socket.port, address.clone()))
            .or_insert_with(|| Closed {
                protocol: socket.protocol,
                port: socket.port,
                address,
                process: processes.of(socket),
                only_on: if stays_open { closed } else { Vec::new() },
            });
    }
    found.into_values().collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
