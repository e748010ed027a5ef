//! Which socket the kernel hands a packet to (`inet_lookup_listener`, `udp4_lib_lookup2`, `compute_score`).

use std::net::IpAddr;

use vrfgate_ebpf::{OpenSocket, Protocol};

use super::{Facts, Question};

/// Where a packet goes once the gate lets it through.
pub(super) struct Lookup<'a> {
    pub(super) facts: &'a Facts,
    pub(super) question: &'a Question,
    /// Ifindex of the VRF.
    pub(super) vrf: u32,
    /// The slave it came in by, as far as is known.
    pub(super) slave: Option<u32>,
    /// The device whose address is asked, where the packet comes from this very host and past the VRF.
    pub(super) past_vrf: Option<u32>,
}

impl<'a> Lookup<'a> {
    /// Sockets of the packet's protocol and port that anybody may talk to.
    pub(super) fn on_port(&self) -> impl Iterator<Item = &'a OpenSocket> {
        let (protocol, port) = (self.question.protocol, self.question.to.port());
        self.facts
            .sockets
            .iter()
            .filter(move |socket| socket.protocol == protocol && socket.port == port)
            .filter(|socket| socket.peer.is_none())
    }

    /// The socket that takes the packet, `accept` being the value of the protocol's `l3mdev_accept`.
    pub(super) fn winner(&self, accept: bool) -> Option<&'a OpenSocket> {
        self.on_port()
            .filter(|socket| takes_address(socket, self.question.to.ip()))
            .filter(|socket| match socket.device {
                None => accept,
                Some(device) => self.hears(device),
            })
            // The first of equals, as a person would read the list.
            .min_by_key(|socket| std::cmp::Reverse(score(socket)))
    }

    /// Step 3 of the gate: something waits for the packet inside the VRF, and the kernel does not pass it over
    /// for an unbound socket. The gate isn't told the slave, so one that is bound to any slave counts, but only
    /// where no unbound socket could have the packet instead.
    pub(super) fn bound(&self) -> Option<&'a OpenSocket> {
        let find = |exact: bool, whose: &dyn Fn(Option<u32>) -> bool| {
            self.on_port()
                .filter(|socket| takes_address(socket, self.question.to.ip()))
                .find(|socket| socket.address.is_unspecified() != exact && whose(socket.device))
        };
        let on_vrf = |device: Option<u32>| device == Some(self.vrf);
        let on_slave = |device: Option<u32>| {
            device
                .is_some_and(|device| device != self.vrf && self.facts.is_inside(device, self.vrf))
        };
        let unbound = |device: Option<u32>| device.is_none();
        if let Some(socket) = find(true, &on_vrf) {
            return Some(socket);
        }
        if find(true, &unbound).is_some() {
            return None;
        }
        let slave = || find(true, &on_slave).or_else(|| find(false, &on_slave));
        find(false, &on_vrf).or_else(|| slave().filter(|_| find(false, &unbound).is_none()))
    }

    /// Whether a socket bound to a device gets the packet (`inet_bound_dev_eq`).
    fn hears(&self, device: u32) -> bool {
        if let Some(holder) = self.past_vrf {
            return device == holder;
        }
        device == self.vrf
            || self.slave.map_or_else(
                || self.facts.is_inside(device, self.vrf),
                |slave| slave == device,
            )
    }
}

/// Whether a socket listens on an address, its own or any.
pub(super) fn takes_address(socket: &OpenSocket, address: IpAddr) -> bool {
    if socket.address.is_unspecified() {
        socket.address.is_ipv4() == address.is_ipv4() || (socket.dual_stack && address.is_ipv4())
    } else {
        socket.address == address
    }
}

/// An address is looked up before the wildcard; then a device counts, then the packet's own family.
fn score(socket: &OpenSocket) -> (bool, bool, bool) {
    let exact = !socket.address.is_unspecified();
    let bound = socket.device.is_some();
    (exact, bound, !socket.dual_stack)
}

/// A socket for people.
pub(super) fn describe(facts: &Facts, socket: &OpenSocket) -> String {
    let address = match socket.address {
        IpAddr::V4(address) => format!("{address}:{}", socket.port),
        IpAddr::V6(address) => format!("[{address}]:{}", socket.port),
    };
    let device = socket.device.map_or_else(String::new, |device| {
        format!(", bound to {}", facts.device_text(device))
    });
    format!("{} on {address}{device}", facts.processes.of(socket))
}

/// The other protocol's name, for those who mixed them up.
pub(super) const fn other(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Tcp => Protocol::Udp,
        Protocol::Udp => Protocol::Tcp,
    }
}
