//! Clashes of ports, as the namespace has them now.

use tracing::{debug, warn};
use vrfgate_core::{NodeFacts, Protocol};
use vrfgate_ebpf::{Netns, SocketsInSight, sockets_in_sight};

use super::{ProbeError, processes};
use crate::facts::{Clash, Processes, clashes};

/// Every port that an unbound and a VRF-bound socket both have.
pub fn port_clashes(netns: &Netns, facts: &NodeFacts) -> Result<Vec<Clash>, ProbeError> {
    // Protocols that the kernel doesn't list are reported by the gate.
    let both = [Protocol::Tcp, Protocol::Udp];
    let SocketsInSight { sockets, .. } = sockets_in_sight(netns, &both)?;
    // Looking for processes takes longer than all the rest, and mostly there is nothing to look for.
    let found = clashes(&sockets, facts, &Processes::default());
    if found.is_empty() {
        return Ok(found);
    }
    let inodes = found
        .iter()
        .flat_map(|clash| [clash.unbound.inode, clash.bound.inode]);
    Ok(clashes(&sockets, facts, &processes::of(&inodes.collect())))
}

/// Logs the clashes that a new gate makes dangerous.
pub(super) fn warn_of_clashes(netns: &Netns, facts: &NodeFacts) {
    match port_clashes(netns, facts) {
        Ok(clashes) => clashes
            .iter()
            .filter(|clash| clash.protocol == Protocol::Tcp)
            .for_each(|clash| warn!("{netns}: {clash}")),
        Err(error) => debug!("looking for ports of {netns} that are shared: {error}"),
    }
}
