//! Random packets: who sends them, and where to.

use std::{fmt, net::IpAddr};

use fastrand::Rng;

use super::{
    Protocol, one_of,
    prefix::{address, needs_a_link},
    rules::PORTS,
    world::{
        LOOPBACK, MAIN_ADDRESSES, Order, SLAVES, VRFS, WHOLE_ADDRESS_OF_VRFS, WHOLE_ADDRESSES,
        slaves_of,
    },
};

/// A packet to be.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub client: Client,
    pub protocol: Protocol,
    pub to: To,
    pub port: u16,
}

/// The sender. VRFs and slaves are given by their places in [`VRFS`] and [`SLAVES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A machine behind a slave.
    Behind { slave: usize, from: IpAddr },
    /// A process of the router itself, by a socket that is bound to no device.
    Unbound,
    /// The same, by a socket that is bound to a VRF.
    OnVrf(usize),
    /// The same, by a socket that is bound to a slave.
    OnSlave(usize),
}

/// An address of the router, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct To {
    pub address: IpAddr,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of a device of the main domain.
    Main,
    /// Part of a prefix that is local to the main domain as a whole.
    Whole,
    /// Of the slave at this place in [`SLAVES`], link-local ones of IPv4 among them.
    Own(usize),
    /// The same, of `fe80::/10`.
    OnTheLink(usize),
    /// Part of a prefix that is local to a VRF as a whole, by a route that names this slave.
    WholeOfVrf(usize),
    Loopback,
    /// 127.0.0.1 or `::1` of a VRF's device.
    LoopbackOfVrf(usize),
}

/// How a packet comes through a VRF.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub vrf: usize,
    /// The slave that it came in by, or that has the address.
    pub slave: Option<usize>,
}

impl Packet {
    pub fn random(random: &mut Rng, order: Order) -> Self {
        loop {
            let protocol = one_of(random, &[Protocol::Tcp, Protocol::Udp]);
            let (client, kind) = way(random, order);
            let to = To {
                address: one_of(random, &addresses(kind)),
                kind,
            };
            if let Client::Behind { from, .. } = client
                && (from.is_ipv4() != to.address.is_ipv4()
                    || needs_a_link(from) != needs_a_link(to.address))
            {
                continue;
            }
            return Self {
                client,
                protocol,
                to,
                port: one_of(random, &PORTS),
            };
        }
    }

    /// The packet's way through a VRF, if that is where it comes through.
    pub fn way(&self) -> Option<Way> {
        let by = |slave: usize| {
            Some(Way {
                vrf: SLAVES[slave].vrf,
                slave: Some(slave),
            })
        };
        if let Client::Behind { slave, .. } = self.client {
            return by(slave);
        }
        match self.to.kind {
            Kind::Own(slave) | Kind::WholeOfVrf(slave) => by(slave),
            Kind::LoopbackOfVrf(vrf) => Some(Way { vrf, slave: None }),
            // What this host sends to its own fe80::/10 passes by the VRF, whatever the socket is bound to.
            Kind::OnTheLink(_) | Kind::Main | Kind::Whole | Kind::Loopback => None,
        }
    }

    /// Who the packet is from.
    pub fn from(&self) -> IpAddr {
        match (self.client, self.to.kind) {
            (Client::Behind { from, .. }, _) => from,
            // No device has the address it is for, so it has one of the slave.
            (_, Kind::WholeOfVrf(slave)) => {
                let mut own = SLAVES[slave].addresses();
                own.find(|own| own.is_ipv4() == self.to.address.is_ipv4())
                    .unwrap_or(self.to.address)
            }
            // A packet to an own address comes from that very address.
            _ => self.to.address,
        }
    }
}

/// A client, and what kind of address it asks.
fn way(random: &mut Rng, order: Order) -> (Client, Kind) {
    let slave = random.usize(..SLAVES.len());
    // The first slave of each VRF is at the VRF's own place.
    let vrf = SLAVES[slave].vrf;
    let (client, kinds): (Client, &[Kind]) = match random.u8(..16) {
        0 => (
            Client::Unbound,
            &[
                Kind::Main,
                Kind::Whole,
                Kind::Loopback,
                Kind::OnTheLink(slave),
            ],
        ),
        // Between main addresses and sockets inside a VRF there is no way, there or back.
        1 | 2 => (
            Client::OnVrf(vrf),
            &[
                Kind::Own(slave),
                Kind::WholeOfVrf(vrf),
                Kind::OnTheLink(slave),
                match order {
                    // 127.0.0.1 is the main domain's then.
                    Order::LocalFirst => Kind::Own(slave),
                    Order::LocalLast => Kind::LoopbackOfVrf(vrf),
                },
            ],
        ),
        3 | 4 => (
            Client::OnSlave(slave),
            &[Kind::Own(slave), Kind::OnTheLink(slave)],
        ),
        _ => {
            let clients: Vec<IpAddr> = SLAVES[slave].clients().collect();
            let from = one_of(random, &clients);
            let slaves: Vec<usize> = slaves_of(vrf).collect();
            let own = Kind::Own(one_of(random, &slaves));
            (
                Client::Behind { slave, from },
                &[
                    Kind::Main,
                    Kind::Main,
                    Kind::Whole,
                    own,
                    own,
                    Kind::OnTheLink(slave),
                    Kind::WholeOfVrf(vrf),
                ],
            )
        }
    };
    (client, one_of(random, kinds))
}

fn addresses(kind: Kind) -> Vec<IpAddr> {
    let written: &[&str] = match kind {
        Kind::Main => &MAIN_ADDRESSES,
        Kind::Whole => &WHOLE_ADDRESSES,
        Kind::WholeOfVrf(_) => &[WHOLE_ADDRESS_OF_VRFS],
        Kind::Loopback | Kind::LoopbackOfVrf(_) => &LOOPBACK,
        Kind::Own(slave) | Kind::OnTheLink(slave) => {
            let on_the_link = matches!(kind, Kind::OnTheLink(_));
            let own = SLAVES[slave].addresses();
            return own
                .filter(|own| needs_a_link(*own) == on_the_link)
                .collect();
        }
    };
    written.iter().map(|written| address(written)).collect()
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            protocol,
            to: To { address, kind },
            port,
        } = self;
        write!(f, "{protocol} from ")?;
        match *client {
            Client::Behind { slave, from } => write!(f, "{from} behind {}", SLAVES[slave].name),
            Client::Unbound => f.write_str("the router"),
            Client::OnVrf(vrf) => write!(f, "the router on {}", VRFS[vrf]),
            Client::OnSlave(slave) => write!(f, "the router on {}", SLAVES[slave].name),
        }?;
        write!(f, " to {address} ({kind:?}) port {port}")
    }
}
