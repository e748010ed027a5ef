//! The map that the tracer keeps and every gate asks. One for all namespaces of a machine; see `listeners.rs`
//! of the abi.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use vrfgate_abi::{ListenerKey, Listeners};

#[btf_map(name = "listeners")]
pub static LISTENERS: HashMap<ListenerKey, Listeners, 131_072, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
