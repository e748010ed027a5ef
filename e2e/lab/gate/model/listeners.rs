//! Random listeners: who is there, on what, bound to what.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fastrand::Rng;

use super::{
    Protocol, one_of,
    prefix::{address, needs_a_link},
    rules::PORTS,
    world::{MAIN_ADDRESSES, SLAVES, VRFS, WHOLE_ADDRESSES, slaves_of},
};

/// The device that a socket is bound to (`SO_BINDTODEVICE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Nothing,
    Vrf(usize),
    Slave(usize),
}

/// The addresses that a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// `[::]` of both families.
    Everything,
    /// `[::]` with `IPV6_V6ONLY`.
    EverythingOfIpv6,
    /// 0.0.0.0
    EverythingOfIpv4,
    /// The very address.
    Address(IpAddr),
    /// The very address by an IPv6 socket, as `::ffff:a.b.c.d`.
    Mapped(Ipv4Addr),
}

#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub protocol: Protocol,
    pub port: u16,
    pub bound: Bound,
    pub on: On,
    /// `SO_REUSEPORT`, without which the kernel gives a port only once.
    pub sharing: bool,
}

impl On {
    /// Whether it is all addresses of a family.
    pub fn is_wildcard(self) -> bool {
        !matches!(self, Self::Address(_) | Self::Mapped(_))
    }

    /// Whether packets to an address are taken.
    pub fn takes(self, to: IpAddr) -> bool {
        match self {
            Self::Everything => true,
            Self::EverythingOfIpv6 => to.is_ipv6(),
            Self::EverythingOfIpv4 => to.is_ipv4(),
            Self::Address(address) => address == to,
            Self::Mapped(address) => address == to,
        }
    }

    /// What the socket is given by `bind`.
    pub fn address(self) -> IpAddr {
        match self {
            Self::Everything | Self::EverythingOfIpv6 => Ipv6Addr::UNSPECIFIED.into(),
            Self::EverythingOfIpv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Address(address) => address,
            Self::Mapped(address) => address.to_ipv6_mapped().into(),
        }
    }
}

impl Bound {
    /// Name of the device.
    pub fn device(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Vrf(vrf) => Some(VRFS[vrf]),
            Self::Slave(slave) => Some(SLAVES[slave].name),
        }
    }
}

/// Listeners on every port, TCP and UDP.
pub fn random(random: &mut Rng) -> Vec<Listener> {
    let mut all = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (number, port) in PORTS.into_iter().enumerate() {
            let here = on_a_port(random, number);
            let sharing = here.len() > 1;
            all.extend(here.into_iter().map(|(bound, on)| Listener {
                protocol,
                port,
                bound,
                on,
                sharing,
            }));
        }
    }
    all
}

/// What the listeners on a port are bound to and take.
fn on_a_port(random: &mut Rng, number: usize) -> Vec<(Bound, On)> {
    // Two of each of the first two are in every rule set.
    let shape = if number < 4 {
        number % 2
    } else {
        random.usize(..10)
    };
    let (unbound, bound) = match shape {
        // Unbound sockets on some addresses, beside sockets in VRFs that take all of them; and the other way round.
        0 => (Some(Taking::SomeAddresses), Some(Taking::Everything)),
        1 => (Some(Taking::Everything), Some(Taking::SomeAddresses)),
        2..=4 => (Some(Taking::Anything), Some(Taking::Anything)),
        5 => (None, Some(Taking::Anything)),
        6 => (None, None),
        _ => (Some(Taking::Anything), None),
    };
    let mut here = Vec::new();
    if let Some(taking) = unbound {
        let ons = taking.random(random, SLAVES[0].addresses());
        here.extend(ons.into_iter().map(|on| (Bound::Nothing, on)));
    }
    if let Some(taking) = bound {
        for vrf in 0..VRFS.len() {
            if let Some((bound, slave)) = bound_in(random, vrf) {
                let ons = taking.random(random, SLAVES[slave].addresses());
                here.extend(ons.into_iter().map(|on| (bound, on)));
            }
        }
    }
    here
}

/// What listeners in a VRF are bound to, if there are any, and a slave whose addresses they may have. All to the same:
/// which of a VRF's and a slave's socket on one address gets a packet depends on the order they came in.
fn bound_in(random: &mut Rng, vrf: usize) -> Option<(Bound, usize)> {
    let slaves: Vec<usize> = slaves_of(vrf).collect();
    let slave = one_of(random, &slaves);
    match random.u8(..5) {
        0 => None,
        1 | 2 => Some((Bound::Vrf(vrf), slave)),
        _ => Some((Bound::Slave(slave), slave)),
    }
}

/// What listeners that are bound alike take together.
#[derive(Clone, Copy, Debug)]
enum Taking {
    Everything,
    SomeAddresses,
    Anything,
}

impl Taking {
    /// No two of them the same.
    fn random(self, random: &mut Rng, own: impl Iterator<Item = IpAddr>) -> Vec<On> {
        let everything = vec![On::Everything];
        match self {
            Self::Everything => everything,
            Self::SomeAddresses => some_addresses(random, own),
            Self::Anything => {
                let mut ons = match random.u8(..8) {
                    0..=2 => everything,
                    3 => vec![On::EverythingOfIpv4],
                    4 => vec![On::EverythingOfIpv6],
                    5 => vec![On::EverythingOfIpv4, On::EverythingOfIpv6],
                    _ => Vec::new(),
                };
                if ons.is_empty() || random.u8(..3) == 0 {
                    ons.extend(some_addresses(random, own));
                }
                ons
            }
        }
    }
}

/// Addresses of the main domain and some others.
fn some_addresses(random: &mut Rng, own: impl Iterator<Item = IpAddr>) -> Vec<On> {
    let main = MAIN_ADDRESSES.iter().chain(&WHOLE_ADDRESSES);
    let main = main.map(|written| address(written));
    // A socket can't be bound to one of fe80::/10 without a device.
    let all: Vec<IpAddr> = main.chain(own.filter(|own| !needs_a_link(*own))).collect();
    let number = random.usize(1..=5);
    let chosen = random.choose_multiple(all, number);
    let mut on = |address| match address {
        IpAddr::V4(address) if random.bool() => On::Mapped(address),
        address => On::Address(address),
    };
    chosen.into_iter().map(&mut on).collect()
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            port,
            bound,
            on,
            sharing: _,
        } = self;
        write!(f, "{protocol} {on:?} port {port}")?;
        if let Some(device) = bound.device() {
            write!(f, " on {device}")?;
        }
        Ok(())
    }
}
