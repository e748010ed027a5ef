//! Which listeners of a namespace a VRF's clients reach before a change, and not after it.

use std::{collections::BTreeSet, fs, net::IpAddr, ops::RangeInclusive};

use vrfgate_core::{NodeFacts, Protocol};
use vrfgate_ebpf::{Netns, OpenSocket, SocketsInSight, sockets_in_sight};

use crate::{
    facts::{Access, Closed, Processes, closed},
    node::{ProbeError, Watcher, processes},
};

/// Addresses of the main domain that the kernel is asked about, whether a VRF reaches them. A host may have thousands, of
/// its cluster's Services; beyond these, they are taken for reached.
const ASKED_ABOUT: usize = 256;

/// Ports that the kernel gives to UDP clients, which are no services (`net.ipv4.ip_local_port_range`).
const CLIENT_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The sockets of a namespace that may be listeners, without those that are clients.
fn listeners(netns: &Netns) -> Result<Vec<OpenSocket>, ProbeError> {
    let clients = client_ports(netns);
    let is_client = |port: u16| clients.as_ref().is_some_and(|ports| ports.contains(&port));
    // Protocols that the kernel doesn't list are reported by the gate.
    let both = [Protocol::Tcp, Protocol::Udp];
    let SocketsInSight { mut sockets, .. } = sockets_in_sight(netns, &both)?;
    sockets.retain(|socket| socket.protocol == Protocol::Tcp || !is_client(socket.port));
    Ok(sockets)
}

/// `None` where they can't be read: then clients are taken for listeners.
fn client_ports(netns: &Netns) -> Option<RangeInclusive<u16>> {
    let text = netns.run(|| fs::read_to_string(CLIENT_PORTS)).ok()?.ok()?;
    let mut ends = text.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

/// The addresses of a host that clients of a VRF reach without our routes, whatever listens there.
async fn reachable(
    watcher: &Watcher,
    facts: &NodeFacts,
    vrf: u32,
) -> Result<BTreeSet<IpAddr>, ProbeError> {
    let [mut reachable, main] = facts.addresses_around(vrf);
    let mut asked: BTreeSet<IpAddr> = main
        .into_iter()
        .filter(|address| !address.is_loopback())
        .collect();
    if let Some(beyond) = asked.iter().nth(ASKED_ABOUT).copied() {
        reachable.extend(asked.split_off(&beyond));
    }
    reachable.extend(watcher.delivered_to(vrf, asked).await?);
    Ok(reachable)
}

/// The listeners of a namespace that a VRF's clients reach `before`, and not `after`.
pub async fn closings(
    watcher: &Watcher,
    netns: &Netns,
    facts: &NodeFacts,
    vrf: u32,
    before: &Access,
    after: &Access,
) -> Result<Vec<Closed>, ProbeError> {
    let sockets = listeners(netns)?;
    let reachable = reachable(watcher, facts, vrf).await?;
    let found = |processes: &Processes| closed(&sockets, &reachable, before, after, processes);
    // Looking for processes takes longer than all the rest, and mostly there is nothing to look for.
    let ports: BTreeSet<(Protocol, u16)> = found(&Processes::default())
        .iter()
        .map(|closed| (closed.protocol, closed.port))
        .collect();
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let inodes = sockets
        .iter()
        .filter(|socket| ports.contains(&(socket.protocol, socket.port)))
        .map(|socket| socket.inode);
    Ok(found(&processes::of(&inodes.collect())))
}
