//! The sockets of servers and of clients, made in the namespaces they are for.

use std::{
    io,
    net::{SocketAddr, SocketAddrV6},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use vrfgate_e2e::{Outcome, ReallyClosed};

use super::{
    Protocol,
    listeners::{Listener, On},
    oracle::Foretold,
    packets::{Client, Kind, Packet},
    prefix::needs_a_link,
    wire::Fate,
    world::{SLAVES, VRFS, World},
};

/// Connections that a listener keeps waiting: more than are ever under way.
const BACKLOG: i32 = 512;

/// The sockets of all listeners, in their order.
pub struct Servers(pub Vec<Socket>, ReallyClosed);

impl Servers {
    pub fn open(world: &World, listeners: &[Listener]) -> Self {
        let sockets = world.lab.netns().enter(|| {
            let open = |listener: &Listener| {
                open(listener).unwrap_or_else(|error| panic!("listening: {listener}: {error}"))
            };
            listeners.iter().map(open).collect()
        });
        Self(sockets, ReallyClosed)
    }
}

fn open(listener: &Listener) -> io::Result<Socket> {
    let address = SocketAddr::new(listener.on.address(), listener.port);
    let socket = Socket::new(Domain::for_address(address), kind(listener.protocol), None)?;
    if listener.protocol == Protocol::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(listener.sharing)?;
    if address.is_ipv6() {
        socket.set_only_v6(listener.on == On::EverythingOfIpv6)?;
    }
    if let Some(device) = listener.bound.device() {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    if listener.protocol == Protocol::Tcp {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn kind(protocol: Protocol) -> Type {
    match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    }
}

/// A packet under way.
pub struct Attempt {
    pub socket: Socket,
    pub to: SockAddr,
    pub protocol: Protocol,
    /// Whether anybody hears of what becomes of it.
    pub heard_of: bool,
    pub connected: bool,
    pub fate: Option<Fate>,
}

/// A client's socket for each packet. A namespace is entered once for all of its sockets.
pub fn attempts(world: &World, packets: &[(Packet, Foretold)]) -> Vec<Attempt> {
    let mut attempts: Vec<Option<Attempt>> = packets.iter().map(|_| None).collect();
    let hosts = world.clients.iter().chain([&*world.lab]);
    for (place, host) in hosts.enumerate() {
        let router = place == SLAVES.len();
        let is_here = |packet: &Packet| match packet.client {
            Client::Behind { slave, .. } => slave == place,
            Client::Unbound | Client::OnVrf(_) | Client::OnSlave(_) => router,
        };
        let links = if router {
            &world.links
        } else {
            &world.links_of_clients
        };
        let slots = &mut attempts;
        host.netns().enter(|| {
            for (slot, (packet, foretold)) in slots.iter_mut().zip(packets) {
                if is_here(packet) {
                    let link = match packet.to.kind {
                        Kind::OnTheLink(slave) => links[slave],
                        _ => 0,
                    };
                    let made = attempt(packet, foretold.heard_of, link);
                    *slot = Some(made.unwrap_or_else(|error| panic!("{packet}: {error}")));
                }
            }
        });
    }
    attempts.into_iter().flatten().collect()
}

fn attempt(packet: &Packet, heard_of: bool, link: u32) -> io::Result<Attempt> {
    let at = |address, port| match SocketAddr::new(address, port) {
        SocketAddr::V6(at) if needs_a_link(address) => {
            SocketAddrV6::new(*at.ip(), port, 0, link).into()
        }
        at => at,
    };
    let to = at(packet.to.address, packet.port);
    let socket = Socket::new(Domain::for_address(to), kind(packet.protocol), None)?;
    let device = match packet.client {
        Client::Behind { .. } | Client::Unbound => None,
        Client::OnVrf(vrf) => Some(VRFS[vrf]),
        Client::OnSlave(slave) => Some(SLAVES[slave].name),
    };
    socket.bind_device(device.map(str::as_bytes))?;
    socket.bind(&at(packet.from(), 0).into())?;
    socket.set_nonblocking(true)?;
    if packet.protocol == Protocol::Tcp {
        // Ends with a reset: a port that waits for late segments is in the way of the next listener.
        socket.set_linger(Some(Duration::ZERO))?;
    }
    Ok(Attempt {
        socket,
        to: to.into(),
        protocol: packet.protocol,
        heard_of,
        connected: false,
        fate: None,
    })
}

impl Attempt {
    /// By an error of its socket.
    pub fn end(&mut self, error: &io::Error) {
        self.fate = Some(match Outcome::of(error) {
            Outcome::Refused => Fate::Refused,
            other => Fate::Else(other),
        });
    }
}
