//! The tracer: counts the sockets that could take a VRF's packets, at the moment they come to be.
//!
//! A socket is counted before it can be reached (`inet_csk_listen_start` and `__inet_bind` enter it into the
//! kernel's tables after what is traced here, or before they return), and counted out when it is closed. It is
//! known by its cookie, so that a socket seen twice, or by two tracers during an upgrade, counts once.

#![no_std]
#![no_main]
// Stable Rust has no atomic addition for this target, though BPF has one.
#![feature(core_intrinsics)]
#![allow(internal_features)]

#[path = "../tracked.rs"]
mod tracked;

use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr,
};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::HashMap,
    helpers::{bpf_get_socket_cookie, bpf_probe_read_kernel},
    macros::{btf_map, btf_tracepoint, fentry, fexit},
    programs::{BtfTracePointContext, FEntryContext, FExitContext},
};
use tracked::LISTENERS;
use vrfgate_abi::{
    ANY_IPV4, ANY_IPV6, ListenerKey, Listeners, ON_DEVICE, ON_SLAVE, SOCKET_DUAL_STACK, SlaveKey,
    SocketOffsets, TCP, TrackedSocket, UDP, UNBOUND, map_ipv4,
};

const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// `AF_INET` and `AF_INET6` of `<linux/socket.h>`.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `TCP_CLOSE` and `TCP_LISTEN` of `<net/tcp_states.h>`.
const TCP_CLOSE: i32 = 7;
const TCP_LISTEN: i32 = 10;

/// Set by the loader to what the running kernel has.
#[unsafe(no_mangle)]
static OFFSETS: SocketOffsets = SocketOffsets {
    family: 0,
    port: 0,
    device: 0,
    ipv4: 0,
    ipv6: 0,
    ipv6_only: 0,
    ipv6_only_mask: 0,
    protocol: 0,
    net: 0,
    inode: 0,
};

/// Namespaces that have a gate, by inode. Sockets of all others are none of our business.
#[btf_map(name = "namespaces")]
static NAMESPACES: HashMap<u32, u8, 4096, ON_DEMAND> = HashMap::new();

#[btf_map(name = "slaves")]
static SLAVES: HashMap<SlaveKey, u32, 65_536, ON_DEMAND> = HashMap::new();

#[btf_map(name = "sockets")]
static SOCKETS: HashMap<u64, TrackedSocket, 131_072, ON_DEMAND> = HashMap::new();

/// `inet_sock_set_state(sk, oldstate, newstate)`: a TCP socket begins or ceases to listen.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_state(ctx: BtfTracePointContext) -> i32 {
    let (from, to): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let socket: *const c_void = ctx.arg(0);
    if to == TCP_LISTEN {
        enter(socket, Kind::TcpListener);
    } else if from == TCP_LISTEN && to == TCP_CLOSE {
        // Not when it becomes anything else: an accepted socket begins as a copy of its listener, cookie and
        // all, and leaves that state at once.
        leave(socket);
    }
    0
}

/// `inet_csk_listen_start(sk)`: a TCP socket begins to listen, told once more. A preemptible kernel leaves out a run of a
/// program while a task in another run of it is off this processor, and states change all the time: this runs seldom.
#[fentry(function = "inet_csk_listen_start")]
pub fn tcp_listen(ctx: FEntryContext) -> i32 {
    enter(ctx.arg(0), Kind::TcpListener);
    0
}

/// `inet_csk_listen_stop(sk)`: a TCP socket ceases to listen, told once more.
#[fentry(function = "inet_csk_listen_stop")]
pub fn tcp_unlisten(ctx: FEntryContext) -> i32 {
    leave(ctx.arg(0));
    0
}

/// `udp_lib_get_port(sk, snum, hash2_nulladdr)`: a UDP socket has got its port, asked for or by itself.
#[fexit(function = "udp_lib_get_port")]
pub fn udp_bind(ctx: FExitContext) -> i32 {
    // Behind the arguments lies what the function returned.
    let (asked, failed): (u16, i32) = (ctx.arg(1), ctx.arg(3));
    if failed == 0 {
        let kind = if asked == 0 {
            Kind::UdpClient
        } else {
            Kind::UdpServer
        };
        enter(ctx.arg(0), kind);
    }
    0
}

/// `udp_lib_unhash(sk)`: a UDP socket is closed.
#[fentry(function = "udp_lib_unhash")]
pub fn udp_close(ctx: FEntryContext) -> i32 {
    leave(ctx.arg(0));
    0
}

/// What is known of a socket by what is done to it.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    TcpListener,
    /// Has a port of its own choice.
    UdpServer,
    /// Takes any port, as clients do, by the thousand: those that are bound to nothing are not counted.
    UdpClient,
}

#[inline(always)]
fn enter(socket: *const c_void, kind: Kind) {
    let Some(netns) = netns_of(socket) else {
        return;
    };
    let protocol = if kind == Kind::TcpListener { TCP } else { UDP };
    let Some(tracked) = describe(socket, netns, protocol) else {
        return;
    };
    if kind == Kind::UdpClient && tracked.key.scope == UNBOUND {
        return;
    }
    if SOCKETS
        .insert(cookie(socket), tracked, BPF_NOEXIST.into())
        .is_ok()
    {
        count(&tracked, 1);
    }
}

#[inline(always)]
fn leave(socket: *const c_void) {
    if netns_of(socket).is_none() {
        return;
    }
    let cookie = cookie(socket);
    // SAFETY: an entry is written once and never changed; it is freed after an RCU grace period only.
    let Some(&tracked) = (unsafe { SOCKETS.get(cookie) }) else {
        return;
    };
    // Whoever removes the entry counts the socket out: the loader may be doing the same.
    if SOCKETS.remove(cookie).is_ok() {
        count(&tracked, u64::MAX);
    }
}

/// The inode of a socket's namespace, if that has a gate.
#[inline(always)]
fn netns_of(socket: *const c_void) -> Option<u32> {
    let net: *const c_void = read(socket, offsets().net)?;
    let inode = read(net, offsets().inode)?;
    // SAFETY: what is there is not looked at.
    unsafe { NAMESPACES.get(inode) }.map(|_| inode)
}

#[inline(always)]
fn describe(socket: *const c_void, netns: u32, protocol: u8) -> Option<TrackedSocket> {
    let offsets = offsets();
    let spoken: u16 = read(socket, offsets.protocol)?;
    let port: u16 = read(socket, offsets.port)?;
    if spoken != u16::from(protocol) || port == 0 {
        return None;
    }
    let device: u32 = read(socket, offsets.device)?;
    let family: u16 = read(socket, offsets.family)?;
    let (address, flags) = match family {
        AF_INET => (map_ipv4(read(socket, offsets.ipv4)?), 0),
        AF_INET6 => {
            let address: [u8; 16] = read(socket, offsets.ipv6)?;
            let bits: u8 = read(socket, offsets.ipv6_only)?;
            let ipv6_only = u32::from(bits) & offsets.ipv6_only_mask != 0;
            if address == ANY_IPV6 && !ipv6_only {
                (address, SOCKET_DUAL_STACK)
            } else {
                (address, 0)
            }
        }
        _ => return None,
    };
    let (device, scope) = place(netns, device);
    Some(TrackedSocket {
        key: ListenerKey {
            netns,
            device,
            port,
            protocol,
            scope,
            address,
        },
        flags,
    })
}

#[inline(always)]
fn place(netns: u32, device: u32) -> (u32, u8) {
    if device == 0 {
        return (0, UNBOUND);
    }
    // SAFETY: values are written whole, and copied here.
    match unsafe { SLAVES.get(SlaveKey { netns, device }) } {
        Some(&vrf) => (vrf, ON_SLAVE),
        None => (device, ON_DEVICE),
    }
}

#[inline(always)]
fn count(socket: &TrackedSocket, by: u64) {
    add(&socket.key, by);
    if socket.flags & SOCKET_DUAL_STACK != 0 {
        let ipv4 = ListenerKey {
            address: ANY_IPV4,
            ..socket.key
        };
        add(&ipv4, by);
    }
}

/// Adds to a counter, or takes 1 away with `u64::MAX`.
#[inline(always)]
fn add(key: &ListenerKey, by: u64) {
    if LISTENERS.get_ptr_mut(key).is_none() {
        // Somebody else may have been faster; then theirs is as good.
        let _ = LISTENERS.insert(key, Listeners::default(), BPF_NOEXIST.into());
    }
    if let Some(listeners) = LISTENERS.get_ptr_mut(key) {
        // SAFETY: the entry is valid while the program runs, and everybody counts atomically.
        unsafe {
            let counter = &raw mut (*listeners).sockets;
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, by);
        }
    }
}

#[inline(always)]
fn cookie(socket: *const c_void) -> u64 {
    // SAFETY: the kernel handed the socket to the program.
    unsafe { bpf_get_socket_cookie(socket.cast_mut()) }
}

#[inline(always)]
fn offsets() -> SocketOffsets {
    // SAFETY: a constant of the loaded program. Volatile, or the compiler would take the values it has here.
    unsafe { ptr::read_volatile(&raw const OFFSETS) }
}

#[inline(always)]
fn read<T>(object: *const c_void, offset: u32) -> Option<T> {
    // SAFETY: the helper checks that the memory can be read, wherever the sum points.
    unsafe { bpf_probe_read_kernel(object.byte_add(offset as usize).cast::<T>()) }.ok()
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
