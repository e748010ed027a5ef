//! The gate: decides, once for each new TCP connection and each unconnected UDP datagram, whether a packet
//! that came through a VRF may look for a socket of the main routing domain.
//!
//! Read [`decide`] from top to bottom: it is the decision list of docs/how-it-works.md, in order. The kernel runs
//! the program from `inet_lookup_listener` and `udp4_lib_lookup2` (and their IPv6 kin), after
//! established connections were looked for and before listeners are. It never assigns a socket: `SK_PASS`
//! lets the kernel's own look-up go on, `SK_DROP` makes the kernel answer as if the port were closed.
//!
//! There are two programs, attached by a link each: the guard runs after the gate and decides in its place when
//! the gate did not run. So no single detached link opens anything.

#![no_std]
#![no_main]

mod bound;
mod lookup;
mod maps;
mod tracked;
mod turn;

use aya_ebpf::{
    bindings::sk_action::{SK_DROP, SK_PASS},
    macros::sk_lookup,
    programs::SkLookupContext,
};
use bound::bound_listener_waits;
use lookup::Lookup;
use maps::{Tally, find_rule, report, source_allowed, vrf_of};
use vrfgate_abi::{NO_RULE, RULE_RESTRICTED, VRF_AUDIT, VRF_OPEN_TCP, VRF_OPEN_UDP};

#[sk_lookup]
pub fn vrfgate(ctx: SkLookupContext) -> u32 {
    turn::take();
    decide(&Lookup::new(&ctx))
}

#[sk_lookup]
pub fn vrfgate_guard(ctx: SkLookupContext) -> u32 {
    if turn::was_taken() {
        // One refusal is enough: a later SK_PASS doesn't undo it.
        return SK_PASS;
    }
    decide(&Lookup::new(&ctx))
}

#[inline(always)]
fn decide(packet: &Lookup<'_>) -> u32 {
    // 1. Not through a VRF: none of our business. All that other traffic pays is a look at one bit.
    let Some(vrf) = vrf_of(packet) else {
        return SK_PASS;
    };
    let policy = vrf.policy;

    // Through a VRF that no leak names, in a namespace where somebody had opened every socket to every VRF
    // before the gate came: that stays as it was.
    let udp = packet.udp_mask();
    if policy.flags & (VRF_OPEN_TCP & !udp | VRF_OPEN_UDP & udp) != 0 {
        return SK_PASS;
    }

    // 2. A rule lists (VRF, local address, protocol, port), and the client may use it.
    let mut closest = NO_RULE;
    if let Some(rule) = find_rule(packet, vrf) {
        if rule.flags & RULE_RESTRICTED == 0 || source_allowed(packet, rule.rule) {
            Tally::of(rule.rule).passed();
            return SK_PASS;
        }
        closest = rule.rule;
    }

    // 3. A socket bound to this VRF or to one of its slaves waits for the packet: the kernel itself will
    //    prefer it. Clients bound to the VRF get their answers by this, too.
    if bound_listener_waits(packet, vrf) {
        return SK_PASS;
    }

    // 4. Nobody asked for it. An audited VRF lets it in all the same, and says so.
    let audited = policy.flags & VRF_AUDIT != 0;
    if closest != NO_RULE {
        Tally::of(closest).not_allowed(audited);
    }
    Tally::of(policy.counter).not_allowed(audited);
    report(packet, vrf, closest, audited);
    if audited { SK_PASS } else { SK_DROP }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses a program that could get here.
    loop {}
}

/// The kernel's spelling of this crate's licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
