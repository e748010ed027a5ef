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
        // SAFETY: this CPU's own value, of which there is one. Both programs run with softirqs off, so that no other packet of
        // this namespace comes in between on this CPU: under PREEMPT_RT, where they may be preempted, by the lock of each CPU
        // that turning them off takes there. From 6.18 on that lock may be left out of a PREEMPT_RT kernel: then another
        // packet's guard may take this one's turn away, and this one's guard decides once more, alike, and counts it twice.
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
