//! Addresses, ports and protocols, in the only forms the rest of the program accepts.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    ops::RangeInclusive,
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Addresses that only a prefix which lies wholly inside one of these ranges means: loopback (with the unspecified address
/// beside it) and link-local ones, which never leave the host or the link; and multicast, which is no host's.
const ON_PURPOSE: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 127)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    )),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
    )),
];

/// Transport protocol of a service. The gate sees no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// New connections are looked up once; their later segments are not.
    Tcp,
    /// Every datagram to an unconnected socket is looked up.
    Udp,
}

impl Protocol {
    /// Number of the protocol in an IP header (`IPPROTO_TCP`, `IPPROTO_UDP`).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol with this number, if the gate knows it.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Local ports of a service: both ends included, never empty, never port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RangeInclusive<u16>", into = "RangeInclusive<u16>")]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16,
}

impl PortRange {
    /// The ports `first` to `last`; `None` if that is backwards.
    #[must_use]
    pub fn new(first: NonZeroU16, last: NonZeroU16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// One port; `None` for 0, which is none.
    #[must_use]
    pub fn single(port: u16) -> Option<Self> {
        let port = NonZeroU16::new(port)?;
        Self::new(port, port)
    }

    /// Whether every port of `other` lies in the range.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.intersection(other) == Some(other)
    }

    /// Lowest port of the range.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first.get()
    }

    /// Highest port of the range.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last.get()
    }

    /// Lowest and highest port.
    pub(crate) const fn ends(self) -> [NonZeroU16; 2] {
        [self.first, self.last]
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first() <= port && port <= self.last()
    }

    /// The ports that two ranges share, if any.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}

/// The message says what is wrong with the range.
impl TryFrom<RangeInclusive<u16>> for PortRange {
    type Error = &'static str;

    fn try_from(ports: RangeInclusive<u16>) -> Result<Self, Self::Error> {
        let (first, last) = ports.into_inner();
        match (NonZeroU16::new(first), NonZeroU16::new(last)) {
            (Some(first), Some(last)) => Self::new(first, last).ok_or("is backwards"),
            _ => Err("port 0 is on no wire"),
        }
    }
}

impl From<PortRange> for RangeInclusive<u16> {
    fn from(ports: PortRange) -> Self {
        ports.first()..=ports.last()
    }
}

/// `22`, or `8000-8010`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Why a string is not a [`Prefix`]. The message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Neither an address nor a prefix.
    #[error("{0:?} is not a prefix such as 192.0.2.0/24 or 2001:db8::/32")]
    Malformed(String),
    /// An address alone. Refused, so that a forgotten length never opens one address for a network.
    #[error("{0} is an address, not a prefix; write {host}", host = IpNet::from(*.0))]
    BareAddress(IpAddr),
    /// Bits are set behind the prefix length: either the address or the length is a slip.
    #[error(
        "{0} has host bits set; write {network} or {host}",
        network = .0.trunc(), host = IpNet::from(.0.addr())
    )]
    HostBits(IpNet),
    /// IPv4 in IPv6's clothes. No packet carries such an address; IPv4 packets match IPv4 prefixes.
    #[error("{0} is an IPv4 address in IPv6 notation; write {1}")]
    Mapped(IpNet, Ipv4Net),
    /// One prefix has one spelling, so that lists can be compared as text.
    #[error("{given:?} is written in an unusual form; write {usual}")]
    Unusual {
        /// As it was given.
        given: String,
        /// As everybody writes it.
        usual: IpNet,
    },
    /// Multicast packets are not looked up the way the gate sees.
    #[error("{0} is multicast, which the gate never sees")]
    Multicast(IpNet),
    /// `0.0.0.0/32` or `::/128`, by which people mean every address; no packet carries it.
    #[error("{0} is no host's address; write {everything} for every address", everything = everything(*.0))]
    Unspecified(IpNet),
}

/// A prefix of unicast addresses, without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

impl Prefix {
    /// The prefix that holds `address` and nothing else.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self(address.into())
    }

    /// Checks what no packet's address could be in.
    pub fn new(net: IpNet) -> Result<Self, PrefixError> {
        if net != net.trunc() {
            return Err(PrefixError::HostBits(net));
        }
        if let Some(ipv4) = ipv4_behind(net) {
            return Err(PrefixError::Mapped(net, ipv4));
        }
        if net.network().is_multicast() {
            return Err(PrefixError::Multicast(net));
        }
        if net == IpNet::from(net.network()) && net.network().is_unspecified() {
            return Err(PrefixError::Unspecified(net));
        }
        Ok(Self(net))
    }

    /// Every address of both families.
    pub const EVERY: [Self; 2] = [
        Self(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))),
        Self(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0))),
    ];

    /// Whether its addresses are IPv4's.
    #[must_use]
    pub const fn is_ipv4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// First address of the prefix.
    #[must_use]
    pub fn network(self) -> IpAddr {
        self.0.network()
    }

    /// Leading bits that are fixed: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether `address` is of the prefix's family and lies inside.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether who wrote the prefix means `address` by it.
    ///
    /// Addresses of [`ON_PURPOSE`] are meant only by a prefix that lies wholly among them: who writes
    /// `0.0.0.0/0` doesn't think of what listens on 127.0.0.1, safe from the network.
    #[must_use]
    pub fn means(self, address: IpAddr) -> bool {
        self.contains(address) && (self.is_on_purpose() || !Self::host(address).is_on_purpose())
    }

    /// Whether the prefix lies wholly inside one of [`ON_PURPOSE`].
    fn is_on_purpose(self) -> bool {
        ON_PURPOSE.iter().any(|range| range.contains(&self.0))
    }

    /// Whether every address of `other` lies inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// The addresses of `local` that who wrote this prefix means by it: a wide prefix is split around those that it
    /// doesn't mean. Sorted, and no two share an address.
    #[must_use]
    pub fn means_of(self, local: Self) -> Vec<Self> {
        let Some(shared) = self.intersection(local) else {
            return Vec::new();
        };
        let mut parts = vec![shared.0];
        if !self.is_on_purpose() {
            for range in ON_PURPOSE {
                parts = parts
                    .into_iter()
                    .flat_map(|part| without(part, range))
                    .collect();
            }
        }
        parts.into_iter().map(Self).collect()
    }

    /// The smallest prefix around the addresses that both mean; `None` if there are none.
    ///
    /// `::/0` and `fe80::/10` have none, although the second lies inside the first.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<Self> {
        self.intersection(other)
            .filter(|_| self.is_on_purpose() == other.is_on_purpose())
    }

    /// The addresses that two prefixes share, if any: prefixes are disjoint or nested.
    fn intersection(self, other: Self) -> Option<Self> {
        if self.covers(other) {
            Some(other)
        } else {
            other.covers(self).then_some(self)
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Err(PrefixError::BareAddress(address));
        }
        let net: IpNet = text
            .parse()
            .map_err(|_| PrefixError::Malformed(text.to_owned()))?;
        let prefix = Self::new(net)?;
        if net.to_string() != text {
            return Err(PrefixError::Unusual {
                given: text.to_owned(),
                usual: net,
            });
        }
        Ok(prefix)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl From<Prefix> for IpNet {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The IPv4 prefix that a prefix inside `::ffff:0:0/96` stands for.
fn ipv4_behind(net: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(net) = net else { return None };
    let length = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(net.network().to_ipv4_mapped()?, length).ok()
}

/// How to write "every address" of the family of `net`.
const fn everything(net: IpNet) -> &'static str {
    match net {
        IpNet::V4(_) => "0.0.0.0/0",
        IpNet::V6(_) => "::/0",
    }
}

/// The parts of `net` outside `hole`, in order.
fn without(net: IpNet, hole: IpNet) -> Vec<IpNet> {
    if hole.contains(&net) {
        return Vec::new();
    }
    if !net.contains(&hole) {
        return vec![net];
    }
    // Longer than `hole` a part of `net` never gets, so that this is never past the longest length there is.
    let halves = net.subnets(net.prefix_len() + 1);
    halves
        .into_iter()
        .flatten()
        .flat_map(|half| without(half, hole))
        .collect()
}
