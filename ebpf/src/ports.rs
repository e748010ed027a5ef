//! TCP ports that a socket of a VRF and one of no VRF both have, and why `tcp_l3mdev_accept` must not change then.
//!
//! Since Linux 6.8, which links the buckets of its two hash tables of ports, a socket that was bound to a VRF under
//! one value and accepts, connects or is shut down under the other is looked up under another VRF than its bucket has
//! (`inet_sk_bound_l3mdev` in `__inet_inherit_port` and `inet_bhash2_update_saddr`). Where a socket of no VRF has the
//! port, too, it is put among the sockets of that one, and its own bucket is freed while it uses it. Sockets that were
//! all bound under one value do no harm while that value stands.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};
use vrfgate_machine::{kernel_is_at_least, release_free_memory};

use crate::{
    Error, L3mdevAccept, Netns, OpenSocket, SharedPort, SharedPorts,
    error::Doing,
    membership::{self, Membership},
    preflight::KERNEL_BTF,
    sockets::{connections, port_holders},
    tracker,
};

/// Ports that are asked for one by one; of more, all connections are listed at once.
const FEW: usize = 32;

/// The VRF-bound sockets without a peer whose bucket is known, by cookie. A bucket stays what it was when the socket
/// was bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoundUnder {
    /// Bound while `tcp_l3mdev_accept` was 0: all that were there when it became 1.
    #[serde(default)]
    zero: BTreeSet<u64>,
    /// Bound while it was 1, and sharing a port: those that were seen.
    #[serde(default)]
    one: BTreeSet<u64>,
}

impl BoundUnder {
    /// Whether a later socket can make a port shared.
    pub(crate) fn any_before(&self) -> bool {
        !self.zero.is_empty()
    }

    /// Whether a switch to `value` is none for the socket.
    fn is_at_home(&self, socket: &OpenSocket, value: bool) -> bool {
        let bound_under = if value { &self.one } else { &self.zero };
        bound_under.contains(&socket.cookie)
    }
}

/// The sockets of a namespace that hold TCP ports and have no peer, by whether a VRF gets their packets.
pub(crate) struct Holders {
    bound: Vec<OpenSocket>,
    unbound: Vec<OpenSocket>,
}

impl Holders {
    pub(crate) fn of(netns: &Netns) -> Result<Self, Error> {
        let (bound, unbound) = split(netns, port_holders(netns)?)?;
        Ok(Self { bound, unbound })
    }

    /// The shared ports that forbid that the sysctl becomes `value`.
    fn in_the_way(
        &self,
        netns: &Netns,
        value: bool,
        known: &BoundUnder,
    ) -> Result<Vec<SharedPort>, Error> {
        let concerned: Vec<&OpenSocket> = self
            .bound
            .iter()
            .filter(|socket| !known.is_at_home(socket, value))
            .collect();
        let mut shared = pairs(&concerned, &self.unbound);
        let left: Vec<&OpenSocket> = concerned
            .into_iter()
            .filter(|socket| !shared.iter().any(|shared| shared.bound == **socket))
            .collect();
        if left.is_empty() {
            return Ok(shared);
        }
        // Connections count as well, because they outlive their listener.
        let ports: BTreeSet<u16> = left.iter().map(|socket| socket.port).collect();
        let ports: Vec<u16> = if ports.len() > FEW {
            vec![0]
        } else {
            ports.into_iter().collect()
        };
        let (_, unbound) = split(netns, connections(netns, &ports)?)?;
        // One connection is reason enough.
        for socket in left {
            shared.extend(pairs(&[socket], &unbound).into_iter().next());
        }
        Ok(shared)
    }

    /// Records the sockets that are bound when the sysctl becomes 1.
    pub(crate) fn note_before(&self, known: &mut BoundUnder) {
        let cookies = self.bound.iter().map(|socket| socket.cookie);
        known.zero = cookies
            .filter(|cookie| !known.one.contains(cookie))
            .collect();
    }

    /// While the sysctl is 1: records sockets that share a port, forgets those that are gone, and returns what a socket
    /// that was bound under 0 shares with one that was bound under 1.
    pub(crate) fn poll(&self, known: &mut BoundUnder) -> Vec<SharedPort> {
        let there: BTreeSet<u64> = self.bound.iter().map(|socket| socket.cookie).collect();
        known.zero.retain(|cookie| there.contains(cookie));
        known.one.retain(|cookie| there.contains(cookie));
        let (before, since): (Vec<&OpenSocket>, Vec<&OpenSocket>) = self
            .bound
            .iter()
            .partition(|socket| known.zero.contains(&socket.cookie));
        let peaceful = pairs(&since, &self.unbound);
        known
            .one
            .extend(peaceful.iter().map(|shared| shared.bound.cookie));
        // A VRF-bound one that came later is in the bucket of no VRF as well.
        let later: Vec<OpenSocket> = since.into_iter().chain(&self.unbound).cloned().collect();
        pairs(&before, &later)
    }
}

/// By whether a VRF gets their packets.
fn split(
    netns: &Netns,
    sockets: Vec<OpenSocket>,
) -> Result<(Vec<OpenSocket>, Vec<OpenSocket>), Error> {
    let mut known: HashMap<u32, bool> = HashMap::new();
    let (mut bound, mut unbound) = (Vec::new(), Vec::new());
    for socket in sockets {
        let of_vrf = match socket.device {
            None => false,
            Some(device) => {
                if let Some(of_vrf) = known.get(&device) {
                    *of_vrf
                } else {
                    let membership = membership::of(netns, device)
                        .doing(|| format!("asking the kernel for device {device} of {netns}"))?;
                    let of_vrf = membership != Membership::None;
                    known.insert(device, of_vrf);
                    of_vrf
                }
            }
        };
        if of_vrf {
            bound.push(socket);
        } else {
            unbound.push(socket);
        }
    }
    Ok((bound, unbound))
}

fn pairs(bound: &[&OpenSocket], unbound: &[OpenSocket]) -> Vec<SharedPort> {
    let mut by_port: BTreeMap<u16, Vec<&OpenSocket>> = BTreeMap::new();
    for socket in unbound {
        by_port.entry(socket.port).or_default().push(socket);
    }
    let mut shared = Vec::new();
    for bound in bound {
        for unbound in by_port.get(&bound.port).into_iter().flatten() {
            if bound.overlaps(unbound) {
                shared.push(SharedPort {
                    bound: (*bound).clone(),
                    unbound: (*unbound).clone(),
                });
            }
        }
    }
    shared.sort_by_key(|shared| (shared.bound.port, shared.bound.inode, shared.unbound.inode));
    shared
}

/// Checks that `tcp_l3mdev_accept` may become `value`, and returns who holds ports. Sockets that were bound under that
/// very value do no harm.
pub(crate) fn check(
    netns: &Netns,
    value: bool,
    known: &BoundUnder,
    policy: SharedPorts,
) -> Result<Option<Holders>, Error> {
    let holders = Holders::of(netns)?;
    if policy == SharedPorts::Refuse {
        let shared = holders.in_the_way(netns, value, known)?;
        // The kernel's types take longer to read than all the rest, and mostly there is nothing to ask them for.
        if !shared.is_empty() && kernel_is_concerned() {
            return Err(Error::PortShared {
                netns: netns.to_string(),
                value: u8::from(value),
                shared,
            });
        }
    }
    Ok(Some(holders))
}

/// Whether this kernel may crash when `tcp_l3mdev_accept` changes while a TCP port is shared.
///
/// What it takes is that buckets of ports are linked (`inet_bind_bucket.bhash2`), which shows in the kernel's types, also
/// of patched kernels. Where the types can't be read, the release decides: 6.8 was the first.
#[must_use]
pub fn kernel_is_concerned() -> bool {
    static CONCERNED: OnceLock<bool> = OnceLock::new();
    *CONCERNED.get_or_init(|| {
        let linked = fs::read(KERNEL_BTF)
            .ok()
            .and_then(|types| tracker::has_member(&types, b"inet_bind_bucket", b"bhash2"));
        // The types took megabytes, and this process may live long.
        release_free_memory();
        linked.unwrap_or_else(|| kernel_is_at_least(6, 8))
    })
}

/// TCP ports of a namespace that would be in the way if its first gate came now. None where `tcp_l3mdev_accept` is 1
/// already, and on a kernel that isn't concerned.
pub fn shared_ports(netns: &Netns) -> Result<Vec<SharedPort>, Error> {
    let now = L3mdevAccept::read(netns)
        .doing(|| format!("reading the l3mdev_accept sysctls of {netns}"))?;
    if now.tcp != Some(false) || !kernel_is_concerned() {
        return Ok(Vec::new());
    }
    Holders::of(netns)?.in_the_way(netns, true, &BoundUnder::default())
}

#[cfg(test)]
mod tests;
