//! What strangers may hand to vrfgate: by name, what reads it. A reader may refuse whatever it is given; that it panics, hangs, or
//! breaks a promise that it checks itself, is a fault.

/// A reader, and what promise it holds.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. Each has a directory of its name in `corpus`.
pub const TARGETS: [Target; 9] = [
    // A container runtime's network configuration with `prevResult`, which is handed on to the byte.
    ("plugin_stdin", vrfgate_cni::fuzz::stdin),
    // Records of attachments, and what an agent makes of them.
    ("attachments", vrfgate_operator::fuzz::attachments),
    // What the plugin says on the agent's socket.
    ("agent_socket", vrfgate_operator::fuzz::notice),
    // Configuration lists, of which nothing changes but our entry.
    ("conflist", vrfgate_operator::fuzz::conflist),
    // What an agent leaves beside its pins for the next one.
    ("agent_files", vrfgate_operator::fuzz::agent_files),
    // VrfLeaks of files.
    ("leaks", vrfgate_operator::fuzz::leaks),
    // Lists and notifications of the kernel.
    ("netlink", vrfgate_operator::fuzz::netlink),
    // Records of gates, and the kernel's types.
    ("gate_files", vrfgate_ebpf::fuzz::files),
    // Entries of pinned maps.
    ("pins", vrfgate_ebpf::fuzz::pins),
];

/// The reader of that name.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    let mut targets = TARGETS.iter();
    targets
        .find(|(known, _)| *known == name)
        .map(|(_, read)| *read)
}
