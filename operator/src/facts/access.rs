//! Which unbound listeners the clients of a VRF reach before a change and after it: what a gate closes, and to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use vrfgate_core::{GatedVrf, OpenService, OpenSocket, Opening, PortRange, Posture, Protocol};
use vrfgate_ebpf::{L3mdevAccept, VrfStatus};

use super::Processes;

/// Which unbound listeners a VRF's clients may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything, of the protocols whose sysctl is 1.
    All {
        /// `tcp_l3mdev_accept`
        tcp: bool,
        /// `udp_l3mdev_accept`
        udp: bool,
    },
    /// What is listed, to whichever clients.
    Listed(Vec<Opening>),
}

impl Access {
    /// Access without a gate, and of VRFs that no leak names.
    #[must_use]
    pub fn ungated(sysctls: L3mdevAccept) -> Self {
        Self::All {
            tcp: sysctls.tcp == Some(true),
            udp: sysctls.udp == Some(true),
        }
    }

    /// Access through the gate in force. The sysctls have the value `now`, and had `former` before the gate.
    #[must_use]
    pub fn in_force(vrf: &VrfStatus, now: L3mdevAccept, former: L3mdevAccept) -> Self {
        match vrf.posture {
            Posture::AsBefore => Self::ungated(former),
            Posture::Audited => Self::ungated(now),
            Posture::Enforced => {
                let rules = vrf.rules.iter();
                Self::Listed(rules.flat_map(|status| status.rule.opens.clone()).collect())
            }
        }
    }

    /// Access through a gate that is asked for. `udp` is whether `udp_l3mdev_accept` is 1 then.
    #[must_use]
    pub fn asked_for(vrf: &GatedVrf, former: L3mdevAccept, udp: bool) -> Self {
        match vrf.posture {
            Posture::AsBefore => Self::ungated(former),
            Posture::Audited => Self::All { tcp: true, udp },
            Posture::Enforced => {
                Self::Listed(vrf.services.iter().map(OpenService::opening).collect())
            }
        }
    }

    /// Whether one entry opens all these ports of an address.
    #[must_use]
    pub fn admits(&self, protocol: Protocol, address: IpAddr, ports: PortRange) -> bool {
        match self {
            Self::All { tcp, udp } => match protocol {
                Protocol::Tcp => *tcp,
                Protocol::Udp => *udp,
            },
            Self::Listed(list) => list.iter().any(|entry| {
                entry.protocol == protocol
                    && entry.ports.covers(ports)
                    && (entry.addresses.contains(&address)
                        || entry.prefixes.iter().any(|net| net.contains(address)))
            }),
        }
    }
}

/// A listener that clients of a VRF no longer reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// Its local address; `*` for a wildcard of both families.
    pub address: String,
    /// Its process, else the inode of its socket.
    pub process: String,
    /// The addresses where it is closed, if it stays open on others.
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
/// Clients don't reach what listens on loopback alone. Link-local addresses of a wildcard socket don't count: its
/// clients use another address.
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
        let Some(port) = PortRange::single(socket.port) else {
            continue;
        };
        let hears: Vec<IpAddr> = reachable
            .iter()
            .copied()
            .filter(|address| !address.is_loopback() && socket.takes_address(*address))
            .filter(|address| !(wildcard && is_link_local(*address)))
            .collect();
        let open = |access: &Access, address| access.admits(socket.protocol, address, port);
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
        // Several sockets may share a port (SO_REUSEPORT): one line, for the first.
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
