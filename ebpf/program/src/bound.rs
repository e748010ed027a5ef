//! Whether the kernel would hand a packet to a socket that is bound to the packet's VRF.

use vrfgate_abi::{ListenerKey, ON_DEVICE, ON_SLAVE, UNBOUND};

use crate::{
    lookup::{Address, Key, Lookup},
    maps::Vrf,
    tracked::LISTENERS,
};

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
pub fn bound_listener_waits(packet: &Lookup<'_>, vrf: Vrf) -> bool {
    // SAFETY: a constant of the loaded program. Volatile, or the compiler would take the value it has here.
    let netns = unsafe { core::ptr::read_volatile(&raw const NETNS) };
    let exist = |scope, Address([a, b, c, d])| {
        let device = if scope == UNBOUND { 0 } else { vrf.ifindex };
        let service = Key::<7>::word(packet.local_port(), packet.protocol(), scope);
        let key = Key([netns, device, service, a, b, c, d]);
        // SAFETY: the counter is changed by others while it is read, but always as a whole.
        unsafe { LISTENERS.get(key.of::<ListenerKey>()) }.is_some_and(|found| found.sockets != 0)
    };
    let here = packet.local_address();
    if exist(ON_DEVICE, here) {
        return true;
    }
    if exist(UNBOUND, here) {
        return false;
    }
    let on_slave = exist(ON_SLAVE, here);

    let anywhere = packet.any_address();
    exist(ON_DEVICE, anywhere)
        || (on_slave || exist(ON_SLAVE, anywhere)) && !exist(UNBOUND, anywhere)
}
