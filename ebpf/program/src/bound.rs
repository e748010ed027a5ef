//! Whether the kernel would hand a packet to a socket that is bound to the packet's VRF.

use vrfgate_abi::{ANY_IPV4, ANY_IPV6, IPV4, ListenerKey, ON_DEVICE, ON_SLAVE, UNBOUND};

use crate::{lookup::Lookup, tracked::LISTENERS};

/// Inode of the gate's own namespace, set by the loader: no helper tells it to an `sk_lookup` program.
#[unsafe(no_mangle)]
static NETNS: u32 = 0;

/// True when a bound listener waits for the packet, and the kernel would not pass it over for an unbound one.
///
/// The kernel looks for listeners on the packet's very address first and for wildcards after, whatever they
/// are bound to: a bound wildcard is passed over where an unbound socket has the address. A socket bound to a
/// slave hears that slave only, and which one the packet came by is not told: it counts only where no unbound
/// socket could have the packet instead. Where both kinds share a port of an address, the kernel decides.
#[inline(always)]
pub fn bound_listener_waits(packet: &Lookup<'_>) -> bool {
    let mut key = ListenerKey {
        // SAFETY: a constant of the loaded program. Volatile, or the compiler would take the value it has here.
        netns: unsafe { core::ptr::read_volatile(&raw const NETNS) },
        device: packet.ingress_ifindex(),
        port: packet.local_port(),
        protocol: packet.protocol(),
        scope: ON_DEVICE,
        address: packet.local_address(),
    };
    if exist(&mut key, ON_DEVICE) {
        return true;
    }
    if exist(&mut key, UNBOUND) {
        return false;
    }
    let on_slave = exist(&mut key, ON_SLAVE);

    key.address = if packet.family() == IPV4 {
        ANY_IPV4
    } else {
        ANY_IPV6
    };
    exist(&mut key, ON_DEVICE)
        || (on_slave || exist(&mut key, ON_SLAVE)) && !exist(&mut key, UNBOUND)
}

#[inline(always)]
fn exist(key: &mut ListenerKey, scope: u8) -> bool {
    let vrf = key.device;
    if scope == UNBOUND {
        key.device = 0;
    }
    key.scope = scope;
    // SAFETY: the counter is changed by others while it is read, but always as a whole.
    let exist = unsafe { LISTENERS.get(&*key) }.is_some_and(|listeners| listeners.sockets != 0);
    key.device = vrf;
    exist
}
