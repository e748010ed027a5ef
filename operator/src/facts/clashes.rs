//! Ports that an unbound and a VRF-bound socket both have: fine with `l3mdev_accept=0`, and `EADDRINUSE` for
//! the one that starts second with 1.
//!
//! Linux 6.8 and later may crash when the sysctl changes while a TCP port is shared, so the loader doesn't change it then
//! (`vrfgate_ebpf::SharedPort`). 7.3.4 panics in `inet_bind_bucket_destroy`, 6.12 reads freed memory, 6.1 is not
//! affected.

use std::fmt;

use serde::Serialize;
use vrfgate_core::{NodeFacts, OpenSocket, Protocol};

use super::{Processes, device_text, vrf_of};

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

/// Every clash, sorted. `processes` may be empty: then sockets are named by their inodes.
#[must_use]
pub fn clashes(sockets: &[OpenSocket], node: &NodeFacts, processes: &Processes) -> Vec<Clash> {
    let (bound, unbound): (Vec<&OpenSocket>, Vec<&OpenSocket>) = sockets
        .iter()
        // A connected socket shares its port with others anyway.
        .filter(|socket| socket.peer.is_none())
        .partition(|socket| socket.device.is_some());
    let mut clashes: Vec<Clash> = bound
        .into_iter()
        .filter_map(|bound| {
            let device = bound.device?;
            Some((bound, vrf_of(node, device)?))
        })
        .flat_map(|(bound, vrf)| {
            let party = |socket| Party::new(socket, node, processes);
            unbound
                .iter()
                .filter(|unbound| unbound.overlaps(bound))
                .map(|unbound| Clash {
                    protocol: bound.protocol,
                    port: bound.port,
                    vrf: vrf.name.clone(),
                    unbound: party(unbound),
                    bound: party(bound),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    clashes.sort();
    clashes
}

impl Party {
    pub(crate) fn new(socket: &OpenSocket, node: &NodeFacts, processes: &Processes) -> Self {
        Self {
            process: processes.0.get(&socket.inode).cloned(),
            inode: socket.inode,
            address: if socket.dual_stack {
                "*".to_owned()
            } else {
                socket.address.to_string()
            },
            device: socket.device.map(|device| device_text(node, device)),
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
        // The kernel never lets UDP sockets share a port by chance.
        match protocol {
            Protocol::Tcp => write!(
                f,
                "with tcp_l3mdev_accept=1 they can't both be started again (EADDRINUSE) unless both set \
                 SO_REUSEPORT; clients of VRF {vrf} reach only one of them. Linux 6.8 and later may crash when that \
                 sysctl changes while they share it (a bug of the kernel), so there the gate neither comes nor goes \
                 meanwhile: stop one of them, or have the gate come before both"
            ),
            Protocol::Udp => write!(
                f,
                "both allow it; with udp_l3mdev_accept=1 datagrams of VRF {vrf} reach only one of them"
            ),
        }
    }
}
