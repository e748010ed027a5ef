//! Sentences about TCP ports that are shared and must not be: by which processes, and what to do. Knows the loader's
//! answer and the processes of sockets.

use vrfgate_core::NodeFacts;
use vrfgate_ebpf::{Error, Netns, SharedPort, shared_ports};
use vrfgate_machine::kernel_release;

use super::processes;
use crate::{facts::Party, some_of::some_of};

/// Ports that are named; of a hundred, the first few are enough to begin with.
const NAMED: usize = 20;

/// Why a gate could not be attached now; `None` when it could.
pub fn would_wait(netns: &Netns, facts: &NodeFacts) -> Result<Option<String>, Error> {
    let shared = shared_ports(netns)?;
    Ok((!shared.is_empty()).then(|| why_it_waits(&shared, facts)))
}

/// Why the gate waits, and what to do.
pub(super) fn why_it_waits(shared: &[SharedPort], facts: &NodeFacts) -> String {
    format!(
        "tcp_l3mdev_accept stays as it is: {}. This kernel ({}) may crash when it changes while a socket of a VRF and \
         one of none share a TCP port (a bug of Linux 6.8 and later). Stop one of the two and the gate follows within \
         seconds; then both can be started with SO_REUSEPORT. Or have the gate come before them (vrfgate-prepare), or \
         go ahead with --accept-shared-ports",
        named(shared, facts),
        kernel_release()
    )
}

/// The warning about ports that came to be shared after the gate came.
pub(super) fn came_later(shared: &[SharedPort], facts: &NodeFacts) -> Vec<String> {
    if shared.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{}: the one that is bound to the VRF had it before tcp_l3mdev_accept became 1, and this kernel ({}) may crash \
         when such two take connections or are shut down (a bug of Linux 6.8 and later): stop the one that came later, \
         or start the older one again, both with SO_REUSEPORT",
        named(shared, facts),
        kernel_release()
    )]
}

/// Who shares which port.
fn named(shared: &[SharedPort], facts: &NodeFacts) -> String {
    let inodes = shared
        .iter()
        .flat_map(|shared| [shared.unbound.inode, shared.bound.inode])
        // A socket that is closing has no process.
        .filter(|inode| *inode != 0);
    let processes = processes::of(&inodes.collect());
    let ports = shared.iter().map(|shared| {
        let party = |socket| Party::new(socket, facts, &processes);
        format!(
            "TCP port {} is shared by {} and {}",
            shared.bound.port,
            party(&shared.unbound),
            party(&shared.bound)
        )
    });
    some_of(&ports.collect::<Vec<_>>(), NAMED, "; ", "; ")
}
