//! The memory layout shared by the BPF program and its loader: keys and values of the gate's maps.
//!
//! Owns the layout and the arithmetic both sides must agree on (address mapping, port blocks).
//! It must not know how either side uses them: no I/O, no allocation, no policy.
//!
//! Any change to a type here that changes bytes or their meaning needs a new [`LAYOUT`].

#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a call costs a BPF program more than the arithmetic behind it"
)]

mod block;
mod listeners;
#[cfg(feature = "user")]
mod pod;

pub use block::{LARGEST_BLOCK, PortBlock, PortBlocks};
pub use listeners::{
    ANY_IPV4, ANY_IPV6, ListenerKey, Listeners, ON_DEVICE, ON_SLAVE, SOCKET_DUAL_STACK, SlaveKey,
    SocketOffsets, TrackedSocket, UNBOUND,
};

/// Version of the map layout. Part of the pin path, so that a layout is never read as another.
pub const LAYOUT: u32 = 4;

/// `IPPROTO_TCP` of `<linux/in.h>`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP` of `<linux/in.h>`.
pub const UDP: u8 = 17;

/// [`Source::family`] of an IPv4 client.
pub const IPV4: u8 = 4;
/// [`Source::family`] of an IPv6 client.
pub const IPV6: u8 = 6;

/// [`VrfPolicy::flags`]: count what would be refused, refuse nothing.
pub const VRF_AUDIT: u32 = 1 << 0;

/// [`VrfPolicy::flags`]: TCP passes, as it did before the gate came.
pub const VRF_OPEN_TCP: u32 = 1 << 1;
/// [`VrfPolicy::flags`]: UDP passes, as it did before the gate came.
pub const VRF_OPEN_UDP: u32 = 1 << 2;
/// [`VrfPolicy::flags`]: the two above follow the namespace's former sysctls. Of no meaning to the program.
pub const VRF_AS_BEFORE: u32 = 1 << 3;

/// [`VrfPolicy::flags`]: the `prefix_rules` map holds rules of this VRF. Without it, it is never asked.
pub const VRF_PREFIXES: u32 = 1 << 4;

/// [`RuleValue::flags`]: only clients found in the `sources` map may use the rule.
pub const RULE_RESTRICTED: u32 = 1 << 0;

/// [`Event::verdict`]: the packet's sender saw a closed port.
pub const REFUSED: u8 = 0;
/// [`Event::verdict`]: an audited VRF let a packet in that enforcing would refuse.
pub const WOULD_REFUSE: u8 = 1;

/// [`Event::rule`] when no rule matched the packet.
pub const NO_RULE: u32 = u32::MAX;

/// Value of the `vrfs` map, keyed by the VRF device's ifindex (`u32`).
///
/// The kernel hands the VRF device's index to an `sk_lookup` program, but for IPv4 packets that this host sends to
/// itself: these may show a slave, whose VRF the `slaves` map knows (`u32`, both by ifindex).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct VrfPolicy {
    /// `VRF_*` bits.
    pub flags: u32,
    /// Index of this VRF's own slot in the `counters` map.
    pub counter: u32,
    /// Bit `k` is set when some TCP rule of the VRF holds a block of `2^k` ports.
    pub tcp_blocks: u32,
    /// The same for UDP. Zero skips every rule look-up.
    pub udp_blocks: u32,
}

/// The one value of the `vrf_marks` map: which devices may be in `vrfs`, so that all traffic that isn't a VRF's pays
/// for a look at one byte rather than for a hash.
///
/// A mark stands for every ifindex that is equal to it modulo 65,536: without one there is no policy, with one there
/// may be. Marks come before policies and go after them, and a byte is written whole: at no moment does a policy lack
/// its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct VrfMarks {
    bits: [u8; Self::BYTES],
}

impl VrfMarks {
    const BYTES: usize = 1 << 13;

    /// Whether a device may have a policy.
    #[inline(always)]
    #[must_use]
    pub const fn may_hold(&self, ifindex: u32) -> bool {
        self.bits[Self::byte(ifindex)] >> (ifindex & 7) & 1 != 0
    }

    /// Marks a device.
    pub const fn mark(&mut self, ifindex: u32) {
        self.bits[Self::byte(ifindex)] |= 1 << (ifindex & 7);
    }

    #[inline(always)]
    const fn byte(ifindex: u32) -> usize {
        (ifindex >> 3) as usize & (Self::BYTES - 1)
    }
}

impl Default for VrfMarks {
    /// No marks.
    fn default() -> Self {
        Self {
            bits: [0; Self::BYTES],
        }
    }
}

/// Key of the `rules` map: one block of ports of one local address, as seen from one VRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RuleKey {
    /// Ifindex of the VRF device.
    pub vrf: u32,
    /// First port of the block, host byte order.
    pub port: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Binary logarithm of the block's size: 0 is a single port, 16 is every port.
    pub block: u8,
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
}

/// Data part of a key of the `prefix_rules` map (an LPM trie): one block of ports of every local address in a
/// prefix.
///
/// For prefixes that are local as a whole (`ip route add local 203.0.113.0/24 dev lo`, `AnyIP`): their
/// addresses are too many for the `rules` map. Bytes only, in network byte order, as in [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct PrefixRule {
    /// Ifindex of the VRF device, big endian.
    pub vrf: [u8; 4],
    /// First port of the block, big endian.
    pub port: [u8; 2],
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// As [`RuleKey::block`].
    pub block: u8,
    /// [`IPV4`] or [`IPV6`], big endian: the kernel keeps the value right behind the key, and it takes a
    /// length that is a multiple of 4.
    pub family: [u8; 4],
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
}

impl PrefixRule {
    /// Bits of the key before the address begins.
    pub const HEAD_BITS: u32 = 96;
    /// Bits of a key that names one address.
    pub const FULL_BITS: u32 = Self::HEAD_BITS + 128;

    /// What `key` would match, did it stand in `rules`.
    #[inline(always)]
    #[must_use]
    pub const fn of(key: &RuleKey, family: u8) -> Self {
        Self {
            vrf: key.vrf.to_be_bytes(),
            port: key.port.to_be_bytes(),
            protocol: key.protocol,
            block: key.block,
            family: (family as u32).to_be_bytes(),
            address: key.address,
        }
    }
}

/// Value of the `rules` and `prefix_rules` maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RuleValue {
    /// The rule's slot in the `counters` map, and its number in the `sources` map.
    pub rule: u32,
    /// `RULE_*` bits.
    pub flags: u32,
}

/// Data part of a key of the `sources` map (an LPM trie): which clients a restricted rule allows.
///
/// Bytes only, in network byte order, because the trie matches from the first byte on. The family comes
/// before the address so that `::/0` doesn't hold IPv4 clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Source {
    /// [`RuleValue::rule`], big endian.
    pub rule: [u8; 4],
    /// [`IPV4`] or [`IPV6`].
    pub family: u8,
    /// Client address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
}

impl Source {
    /// Bits of the key before the address begins.
    pub const HEAD_BITS: u32 = 40;
    /// Bits of a key that names one client.
    pub const FULL_BITS: u32 = Self::HEAD_BITS + 128;

    /// The client `address` as seen by rule number `rule`.
    #[inline(always)]
    #[must_use]
    pub const fn new(rule: u32, family: u8, address: [u8; 16]) -> Self {
        Self {
            rule: rule.to_be_bytes(),
            family,
            address,
        }
    }
}

/// Value of the `counters` map (per CPU): one slot a rule and one a VRF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Look-ups the gate let through: new TCP connections, unconnected UDP datagrams.
    pub passed: u64,
    /// Look-ups the gate refused. In a rule's slot: because of the client's address.
    pub refused: u64,
    /// Look-ups an audited VRF let through that enforcing would refuse.
    pub would_refuse: u64,
}

/// A record of the `events` ring buffer: one look-up that was, or would be, refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Ifindex of the VRF device.
    pub vrf: u32,
    /// The rule that matched all but the client's address, else [`NO_RULE`].
    pub rule: u32,
    /// Client address; IPv4 as `::ffff:a.b.c.d`.
    pub remote: [u8; 16],
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// Client port, host byte order.
    pub remote_port: u16,
    /// Local port, host byte order.
    pub local_port: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// [`REFUSED`] or [`WOULD_REFUSE`].
    pub verdict: u8,
    /// Spelt out, so that no byte of the record is left undefined.
    pub padding: [u8; 2],
}

impl Event {
    /// Reads a record as the BPF program wrote it; `None` when it has another size.
    #[must_use]
    pub fn from_bytes(record: &[u8]) -> Option<Self> {
        let record: &[u8; size_of::<Self>()] = record.try_into().ok()?;
        let mut rest = record.as_slice();
        Some(Self {
            time_ns: u64::from_ne_bytes(take(&mut rest)?),
            vrf: u32::from_ne_bytes(take(&mut rest)?),
            rule: u32::from_ne_bytes(take(&mut rest)?),
            remote: take(&mut rest)?,
            local: take(&mut rest)?,
            remote_port: u16::from_ne_bytes(take(&mut rest)?),
            local_port: u16::from_ne_bytes(take(&mut rest)?),
            protocol: take::<1>(&mut rest)?[0],
            verdict: take::<1>(&mut rest)?[0],
            padding: take(&mut rest)?,
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

/// An IPv4 address in the form every map here uses, `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
#[inline(always)]
#[must_use]
pub const fn map_ipv4([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

// The maps outlive the process that made them: a size that drifts is a layout that drifts.
const _: () = {
    assert!(size_of::<VrfPolicy>() == 16);
    assert!(size_of::<VrfMarks>() == 8192);
    assert!(size_of::<RuleKey>() == 24);
    assert!(size_of::<PrefixRule>() == 28);
    assert!(size_of::<RuleValue>() == 8);
    assert!(size_of::<Source>() == 21);
    assert!(size_of::<Counters>() == 24);
    assert!(size_of::<Event>() == 56);
};
