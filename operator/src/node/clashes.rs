//! Clashes of ports, as the namespace has them now.

use vrfgate_ebpf::{Netns, open_sockets};

use super::{ProbeError, processes};
use crate::{
    compile::NodeFacts,
    explain::{Clash, Processes, clashes},
};

/// Every port that an unbound and a VRF-bound socket both have.
pub fn port_clashes(netns: &Netns, facts: &NodeFacts) -> Result<Vec<Clash>, ProbeError> {
    let sockets = open_sockets(netns)?;
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
