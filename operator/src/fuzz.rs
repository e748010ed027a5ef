//! For the fuzzer: readers of what is not ours to trust.

use vrfgate_core::{NodeFacts, check_set, compile};

use crate::api::{GateLeak, read_leaks};

pub use crate::{
    agent::fuzz::{attachments, files as agent_files, notice},
    install::fuzz::conflist,
};

/// `VrfLeak`s of a file.
pub fn leaks(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let Ok(leaks) = read_leaks("a file", text) else {
        return;
    };
    for leak in &leaks {
        let again = GateLeak::new(leak, 1).parse();
        assert_eq!(again.as_ref(), Ok(leak), "it is the same on a node");
    }
    if check_set(&leaks).is_empty() {
        let _ = compile(&leaks, &NodeFacts::default());
    }
}

/// A datagram of the kernel, read as every list and notification of it.
pub fn netlink(datagram: &[u8]) {
    vrfgate_ebpf::fuzz::netlink(datagram);
    crate::node::fuzz::netlink(datagram);
}
