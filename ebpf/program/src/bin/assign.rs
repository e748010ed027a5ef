//! The design that does not work, for the lab to show: hands every packet to the one listener in a map.
//!
//! The kernel takes the answer for the SYN, answers by the main table, and then refuses the client's ACK,
//! because the request socket is bound to no VRF (`inet_match`). Part of no release.

#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::sk_action::SK_PASS,
    macros::{map, sk_lookup},
    maps::SockMap,
    programs::SkLookupContext,
};

#[map(name = "listener")]
static LISTENER: SockMap = SockMap::with_max_entries(1, 0);

#[sk_lookup]
pub fn assign(ctx: SkLookupContext) -> u32 {
    // Without a listener in the map, or for a packet of another protocol, the kernel's own look-up goes on.
    let _ = LISTENER.redirect_sk_lookup(&ctx, 0, 0);
    SK_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel's spelling of this crate's licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
