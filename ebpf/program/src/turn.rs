//! How the guard knows that the gate has just decided.
//!
//! The kernel runs a namespace's programs one after the other on one CPU, in the order they were attached, and
//! the loader attaches the guard after the gate. Loaded together, the two have this map for themselves.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};

#[btf_map(name = "turn")]
static TURN: PerCpuArray<u32, 1> = PerCpuArray::new();

/// The gate decides on this packet.
#[inline(always)]
pub fn take() {
    if let Some(turn) = TURN.get_ptr_mut(0) {
        // SAFETY: this CPU's own value, of which there is one; nothing else runs on the CPU meanwhile that
        // writes it.
        unsafe { *turn = 1 };
    }
}

/// Whether the gate has decided on this packet. To be asked once a packet.
#[inline(always)]
pub fn was_taken() -> bool {
    let Some(turn) = TURN.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as in `take`.
    let turn = unsafe { &mut *turn };
    core::mem::take(turn) != 0
}
