//! Addresses and prefixes, by the model's own arithmetic.

use std::{fmt, net::IpAddr};

/// What a test has written down.
#[track_caller]
pub fn address(written: &str) -> IpAddr {
    written
        .parse()
        .unwrap_or_else(|error| panic!("{written}: {error}"))
}

/// A prefix as a leak lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    written: &'static str,
    first: IpAddr,
    length: u32,
}

/// What only a prefix that lies among them opens: "Loopback and link-local addresses are opened only by a prefix that
/// lies wholly among them, never by `0.0.0.0/0`" (docs/one-machine.md).
const NEVER_BY_THE_WAY: [&str; 4] = ["127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"];

impl Prefix {
    #[track_caller]
    pub fn new(written: &'static str) -> Self {
        let (first, length) = written
            .split_once('/')
            .unwrap_or_else(|| panic!("{written} is no prefix"));
        Self {
            written,
            first: address(first),
            length: length
                .parse()
                .unwrap_or_else(|error| panic!("{written}: {error}")),
        }
    }

    pub fn is_ipv4(self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether an address lies inside, which is what counts for clients.
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4() && {
            let (first, bits) = number(self.first);
            let (other, _) = number(address);
            (first ^ other).checked_shr(bits - self.length).unwrap_or(0) == 0
        }
    }

    /// Whether a service that lists the prefix opens a local address by it.
    pub fn opens(self, address: IpAddr) -> bool {
        self.contains(address) && (self.is_special() || !is_special(address))
    }

    /// Whether two services that list these two would open an address twice.
    pub fn clashes_with(self, other: Self) -> bool {
        (self.contains(other.first) && self.length <= other.length
            || other.contains(self.first) && other.length <= self.length)
            && self.is_special() == other.is_special()
    }

    /// Whether the prefix lies wholly among loopback or link-local addresses.
    pub fn is_special(self) -> bool {
        NEVER_BY_THE_WAY.into_iter().any(|range| {
            let range = Self::new(range);
            range.contains(self.first) && range.length <= self.length
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written)
    }
}

/// Whether an address is a loopback or link-local one.
pub fn is_special(address: IpAddr) -> bool {
    NEVER_BY_THE_WAY
        .into_iter()
        .any(|range| Prefix::new(range).contains(address))
}

/// Whether an address is one of IPv6 that means something on one link only.
pub fn needs_a_link(address: IpAddr) -> bool {
    Prefix::new("fe80::/10").contains(address)
}

/// An address as a number, and how many bits that has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}
