//! What the benchmarks hold the gate against, and one part of it that can't be timed otherwise. Part of no
//! release.

#![no_std]
#![no_main]

#[path = "../lookup.rs"]
#[allow(dead_code, reason = "a look-up by local address needs a part of it")]
mod lookup;
#[path = "../turn.rs"]
mod turn;

use aya_ebpf::{
    bindings::{
        BPF_F_NO_PREALLOC,
        sk_action::{SK_DROP, SK_PASS},
    },
    btf_maps::{LpmTrie, lpm_trie::Key},
    macros::{btf_map, sk_lookup},
    programs::SkLookupContext,
};
use lookup::Lookup;

/// Protocol, a zero, port in network byte order, address in network byte order: longest prefixes are single
/// addresses, and an address is never looked for under another protocol or port.
type Service = [u8; 20];
const FULL_BITS: u32 = 160;

/// One trie for everything, as `tubular` has it.
#[btf_map(name = "services")]
static SERVICES: LpmTrie<Service, u32, 131_072, { BPF_F_NO_PREALLOC as usize }> = LpmTrie::new();

/// The least that a program can do.
#[sk_lookup]
pub fn empty(_: SkLookupContext) -> u32 {
    SK_PASS
}

/// One longest-prefix match by protocol, local port and local address. `tubular` makes two (the second for services
/// of all ports), counts, and assigns a socket: this is less than what it does, never more.
#[sk_lookup]
pub fn trie(ctx: SkLookupContext) -> u32 {
    let packet = Lookup::new(&ctx);
    let mut service: Service = [0; 20];
    service[0] = packet.protocol();
    service[2..4].copy_from_slice(&packet.local_port().to_be_bytes());
    service[4..].copy_from_slice(&packet.local_address().bytes());
    if SERVICES.get(&Key::new(FULL_BITS, service)).is_some() {
        SK_PASS
    } else {
        SK_DROP
    }
}

/// What the gate does for its guard, and the guard after a gate that has decided, in one program: test runs of the
/// guard itself never have a gate before them.
#[sk_lookup]
pub fn turns(_: SkLookupContext) -> u32 {
    turn::take();
    if turn::was_taken() { SK_PASS } else { SK_DROP }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel's spelling of this crate's licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
