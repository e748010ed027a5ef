//! Which socket the kernel hands a packet to (`inet_lookup_listener`, `udp4_lib_lookup2`, `compute_score`).

use std::net::IpAddr;

use crate::facts::{Facts, Question};
use vrfgate_core::OpenSocket;

/// Where a packet goes once the gate lets it through.
pub(super) struct Lookup<'a> {
    pub(super) facts: &'a Facts,
    pub(super) question: &'a Question,
    /// Ifindex of the VRF.
    pub(super) vrf: u32,
    /// The slave it came in by, if that is known.
    pub(super) slave: Option<u32>,
    /// The device that has the destination address, where the packet comes from this host and bypasses the VRF.
    pub(super) past_vrf: Option<u32>,
}

impl<'a> Lookup<'a> {
    /// Sockets of the packet's protocol and port that have no peer.
    pub(super) fn on_port(&self) -> impl Iterator<Item = &'a OpenSocket> {
        let (protocol, port) = (self.question.protocol, self.question.to.port());
        self.facts
            .sockets
            .iter()
            .filter(move |socket| socket.is_open_on(protocol, port))
    }

    /// The socket that takes the packet, `accept` being the value of the protocol's `l3mdev_accept`.
    pub(super) fn winner(&self, accept: bool) -> Option<&'a OpenSocket> {
        self.on_port()
            .filter(|socket| socket.takes_address(self.question.to.ip()))
            .filter(|socket| match socket.device {
                None => accept,
                Some(device) => self.hears(device),
            })
            // The first of equals.
            .min_by_key(|socket| std::cmp::Reverse(score(socket)))
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

/// The kernel prefers an address to the wildcard, then a socket with a device, then one of the packet's own family.
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
