//! The readers of untrusted input, by name. A reader may refuse any input. It is a fault if it panics, hangs, or breaks a promise
//! that it checks itself.

/// A reader.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. Each has a directory of its name in `corpus`.
pub const TARGETS: [Target; 9] = [
    // A container runtime's network configuration, with `prevResult`, which is passed on byte for byte.
    ("plugin_stdin", vrfgate_cni::fuzz::stdin),
    // Records of attachments, and what an agent makes of them.
    ("attachments", vrfgate_operator::fuzz::attachments),
    // The plugin's messages on the agent's socket.
    ("agent_socket", vrfgate_operator::fuzz::notice),
    // Configuration lists, in which only vrfgate's entry changes.
    ("conflist", vrfgate_operator::fuzz::conflist),
    // The file that an agent leaves beside its pins for the next one.
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
