//! The packet as the kernel shows it to an `sk_lookup` program.

use core::marker::PhantomData;

use aya_ebpf::{bindings::bpf_sk_lookup, programs::SkLookupContext};
use vrfgate_abi::{IPV4, IPV6, map_ipv4};

/// `AF_INET` of `<linux/socket.h>`.
const AF_INET: u32 = 2;

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

    /// The VRF device's ifindex for a packet that came through a VRF, else the receiving device's.
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        field!(self.ingress_ifindex)
    }

    /// `IPPROTO_TCP` or `IPPROTO_UDP`: the kernel runs the program for no other.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        field!(self.protocol) as u8
    }

    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        field!(self.local_port) as u16
    }

    #[inline(always)]
    pub fn remote_port(&self) -> u16 {
        u16::from_be(field!(self.remote_port))
    }

    /// Where the packet goes, IPv4 as `::ffff:a.b.c.d`. After NAT, if there is any.
    #[inline(always)]
    pub fn local_address(&self) -> [u8; 16] {
        let ipv4 = field!(self.local_ip4);
        let ipv6 = [
            field!(self.local_ip6[0]),
            field!(self.local_ip6[1]),
            field!(self.local_ip6[2]),
            field!(self.local_ip6[3]),
        ];
        self.address(ipv4, ipv6)
    }

    /// Who sent the packet, IPv4 as `::ffff:a.b.c.d`.
    #[inline(always)]
    pub fn remote_address(&self) -> [u8; 16] {
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
    fn address(&self, ipv4: u32, ipv6: [u32; 4]) -> [u8; 16] {
        if self.is_ipv4() {
            map_ipv4(ipv4.to_ne_bytes())
        } else {
            join(ipv6)
        }
    }

    /// [`IPV4`] or [`IPV6`].
    #[inline(always)]
    pub fn family(&self) -> u8 {
        if self.is_ipv4() { IPV4 } else { IPV6 }
    }

    #[inline(always)]
    fn is_ipv4(&self) -> bool {
        field!(self.family) == AF_INET
    }
}

/// The address in the order it has on the wire: the kernel stores its words that way already.
#[inline(always)]
fn join(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    [
        a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2],
        d[3],
    ]
}
