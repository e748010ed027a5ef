//! The packet as the kernel shows it to an `sk_lookup` program.

use core::marker::PhantomData;

use aya_ebpf::{bindings::bpf_sk_lookup, programs::SkLookupContext};
use vrfgate_abi::{IPV4, IPV6, ListenerKey, RuleKey};

/// The words of `::ffff:0:0/96`, as on the wire.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// An address as four words in the order that they, and their bytes, have on the wire; IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy)]
pub struct Address(pub [u32; 4]);

impl Address {
    #[inline(always)]
    pub fn bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.0.map(u32::to_ne_bytes);
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ]
    }
}

/// A key of a hash map in the making.
///
/// The kernel hashes keys word by word. A word that was stored as a whole is at hand at once; for one that was stored
/// in parts the processor has to wait until all of them are in its cache, for some nanoseconds each.
pub struct Key<const WORDS: usize>(pub [u32; WORDS]);

impl<const WORDS: usize> Key<WORDS> {
    /// The word of a port, a protocol, and one byte more.
    #[inline(always)]
    pub fn word(port: u16, protocol: u8, last: u8) -> u32 {
        let [first, second] = port.to_ne_bytes();
        u32::from_ne_bytes([first, second, protocol, last])
    }

    /// As the type that the map has for its keys.
    #[inline(always)]
    pub fn of<K: Words<WORDS>>(&self) -> &K {
        // SAFETY: `Words` says that a `K` is as many words, whatever they are.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

/// A key that consists of this many words, in the order of its fields.
///
/// # Safety
///
/// It must be `repr(C)`, of integers only, without padding, and aligned as a word is.
pub unsafe trait Words<const WORDS: usize> {}

// SAFETY: vrf; port, protocol and block; address. The ABI asserts the size, which is the sum of the fields.
unsafe impl Words<6> for RuleKey {}
// SAFETY: netns; device; port, protocol and scope; address. As above.
unsafe impl Words<7> for ListenerKey {}

/// Reads fields of the program's context, in host byte order unless said otherwise.
pub struct Lookup<'a> {
    context: *const bpf_sk_lookup,
    program: PhantomData<&'a SkLookupContext>,
}

/// The verifier takes only aligned 4-byte (or smaller) loads at the offset of a field. A volatile read
/// keeps LLVM from joining two of them into one it would refuse.
macro_rules! field {
    ($self:ident . $($field:tt)+) => {
        // SAFETY: the kernel hands a valid context to the program for as long as it runs, and `Lookup`
        // can't outlive the program's own handle on it.
        unsafe { core::ptr::read_volatile(&raw const (*$self.context).$($field)+) }
    };
}

impl<'a> Lookup<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a SkLookupContext) -> Self {
        Self {
            context: ctx.lookup,
            program: PhantomData,
        }
    }

    /// The VRF device's ifindex for a packet that came through a VRF, else the receiving device's. Of packets that
    /// this host sends to itself, see [`vrf_of`](crate::maps::vrf_of).
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        field!(self.ingress_ifindex)
    }

    /// `IPPROTO_TCP` or `IPPROTO_UDP`: the kernel runs the program for no other.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        field!(self.protocol) as u8
    }

    /// All ones for UDP, all zeroes for TCP: 17 is odd, and 6 is even.
    #[inline(always)]
    pub fn udp_mask(&self) -> u32 {
        0_u32.wrapping_sub(field!(self.protocol) & 1)
    }

    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        field!(self.local_port) as u16
    }

    #[inline(always)]
    pub fn remote_port(&self) -> u16 {
        u16::from_be(field!(self.remote_port))
    }

    /// Where the packet goes. After NAT, if there is any.
    #[inline(always)]
    pub fn local_address(&self) -> Address {
        let ipv4 = field!(self.local_ip4);
        let ipv6 = [
            field!(self.local_ip6[0]),
            field!(self.local_ip6[1]),
            field!(self.local_ip6[2]),
            field!(self.local_ip6[3]),
        ];
        self.address(ipv4, ipv6)
    }

    /// The unspecified address of the packet's family.
    #[inline(always)]
    pub fn any_address(&self) -> Address {
        self.address(0, [0; 4])
    }

    /// Who sent the packet.
    #[inline(always)]
    pub fn remote_address(&self) -> Address {
        let ipv4 = field!(self.remote_ip4);
        let ipv6 = [
            field!(self.remote_ip6[0]),
            field!(self.remote_ip6[1]),
            field!(self.remote_ip6[2]),
            field!(self.remote_ip6[3]),
        ];
        self.address(ipv4, ipv6)
    }

    /// Both forms have been read by now, not just the one in use: LLVM would make the two reads one, at an
    /// offset that depends on the family, and the verifier takes constant offsets only.
    #[inline(always)]
    fn address(&self, ipv4: u32, ipv6: [u32; 4]) -> Address {
        // The kernel shows zeroes where the form that isn't in use would be. Without a branch: the verifier walks the
        // rest of the program once for each way here.
        let [a, b, c, d] = ipv6;
        Address([a, b, c | MAPPED & self.ipv4_mask(), d | ipv4])
    }

    /// [`IPV4`] or [`IPV6`].
    #[inline(always)]
    pub fn family(&self) -> u8 {
        IPV6 - (self.ipv4_mask() as u8 & (IPV6 - IPV4))
    }

    /// All ones for IPv4, all zeroes for IPv6: `AF_INET` is 2 and `AF_INET6` 10.
    #[inline(always)]
    fn ipv4_mask(&self) -> u32 {
        (field!(self.family) >> 3 & 1).wrapping_sub(1)
    }
}
