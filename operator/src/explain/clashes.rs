//! Ports that an unbound and a VRF-bound socket both have: fine with `l3mdev_accept=0`, and `EADDRINUSE` for
//! the one that starts second with 1.
//!
//! Where a TCP port is shared already when the sysctl becomes 1, Linux is in danger. It keeps a port of each VRF in a
//! bucket of its own, finds the bucket of an accepted socket by the VRF only while the sysctl is 0
//! (`inet_sk_bound_l3mdev`), and so counts sockets of the VRF among those of no VRF: their own bucket is freed while
//! they use it (`__inet_inherit_port`, `inet_bhash2_update_saddr`, since buckets are linked in 6.8). 7.3.4 panics in
//! `inet_bind_bucket_destroy`, 6.12 reads freed memory, 6.1 is not concerned.

use std::fmt;

use serde::Serialize;
use vrfgate_ebpf::{OpenSocket, Protocol};

use super::{Facts, Processes};
use crate::compile::NodeFacts;

/// An unbound and a VRF-bound socket on one port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clash {
    /// The protocol of both.
    pub protocol: Protocol,
    /// The port of both.
    pub port: u16,
    /// The VRF of the one that is bound.
    pub vrf: String,
    /// The one that is bound to no device.
    pub unbound: Party,
    /// The one that is bound to the VRF, or to a slave of it.
    pub bound: Party,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Party {
    /// Its process, where that could be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The socket's inode, as `ss -e` shows it.
    pub inode: u32,
    /// Local address; `*` for a wildcard of both families.
    pub address: String,
    /// The device it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Every clash there is, sorted. `processes` may be empty: then sockets are told by their inodes.
#[must_use]
pub fn clashes(sockets: &[OpenSocket], node: &NodeFacts, processes: &Processes) -> Vec<Clash> {
    let facts = Facts {
        node: node.clone(),
        ..Facts::default()
    };
    let (bound, unbound): (Vec<&OpenSocket>, Vec<&OpenSocket>) = sockets
        .iter()
        // A connected socket shares its port with others anyway.
        .filter(|socket| socket.peer.is_none())
        .partition(|socket| socket.device.is_some());
    let mut clashes: Vec<Clash> = bound
        .into_iter()
        .filter_map(|bound| {
            let device = bound.device?;
            Some((bound, device, facts.vrf_of(device)?))
        })
        .flat_map(|(bound, device, vrf)| {
            let party = |socket, device: Option<u32>| Party {
                device: device.map(|device| facts.device_text(device)),
                ..Party::new(socket, processes)
            };
            unbound
                .iter()
                .filter(|unbound| overlap(unbound, bound))
                .map(|unbound| Clash {
                    protocol: bound.protocol,
                    port: bound.port,
                    vrf: vrf.name.clone(),
                    unbound: party(unbound, None),
                    bound: party(bound, Some(device)),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    clashes.sort();
    clashes
}

/// Whether two sockets want the same packets, devices aside.
fn overlap(one: &OpenSocket, other: &OpenSocket) -> bool {
    let covers = |one: &OpenSocket, other: &OpenSocket| {
        one.address.is_unspecified()
            && (one.address.is_ipv4() == other.address.is_ipv4()
                || (one.dual_stack && other.address.is_ipv4()))
    };
    one.protocol == other.protocol
        && one.port == other.port
        && (one.address == other.address || covers(one, other) || covers(other, one))
}

impl Party {
    fn new(socket: &OpenSocket, processes: &Processes) -> Self {
        Self {
            process: processes.0.get(&socket.inode).cloned(),
            inode: socket.inode,
            address: if socket.dual_stack {
                "*".to_owned()
            } else {
                socket.address.to_string()
            },
            device: None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            process,
            inode,
            address,
            device,
        } = self;
        match process {
            Some(process) => f.write_str(process)?,
            None => write!(f, "socket {inode}")?,
        }
        write!(f, " on {address}")?;
        match device {
            Some(device) => write!(f, " bound to {device}"),
            None => f.write_str(" bound to no device"),
        }
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            port,
            vrf,
            unbound,
            bound,
        } = self;
        write!(
            f,
            "{protocol} port {port} is shared by {unbound} and {bound}: "
        )?;
        // To UDP the kernel has never let a port be shared by chance.
        match protocol {
            Protocol::Tcp => write!(
                f,
                "with tcp_l3mdev_accept=1 they can't both be started again (EADDRINUSE) unless both set \
                 SO_REUSEPORT; clients of VRF {vrf} reach only one of them. If they shared it before that sysctl \
                 was 1, Linux 6.8 and later may crash when they close after both took connections (a bug of the \
                 kernel): stop the bound one before the gate comes, or else before anybody connects"
            ),
            Protocol::Udp => write!(
                f,
                "both allow it; with udp_l3mdev_accept=1 datagrams of VRF {vrf} reach only one of them"
            ),
        }
    }
}
