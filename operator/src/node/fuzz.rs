//! For the fuzzer: what is read of the kernel beside what the loader reads.

use std::collections::HashSet;

use vrfgate_ebpf::netlink::Messages;

/// A datagram, read as everything.
pub fn netlink(datagram: &[u8]) {
    super::kernel::read_everything(datagram, &HashSet::new());
    for message in Messages::of(datagram).flatten() {
        super::steer::read_everything(&message);
    }
}
