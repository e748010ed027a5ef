//! The gate's decision, written as plainly as it can be said.
//!
//! This is the model that the data plane is tested against. It walks lists where the BPF program
//! hashes, and knows nothing of maps, so that a mistake in one is not repeated in the other.

use std::net::IpAddr;

use super::{Desired, GatedVrf, LeakName, Mode, OpenService, Protocol, ServiceName};

/// A packet that reached the socket look-up: a new TCP connection or a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Ifindex that the kernel shows: of the VRF it came through, else of the device it arrived on. An IPv4 packet that
    /// this host sends to itself inside a VRF shows the device that has the address, most often a slave.
    pub ingress: u32,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination, an address of this host.
    pub local: IpAddr,
    /// Destination port.
    pub local_port: u16,
    /// The client.
    pub remote: IpAddr,
}

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It goes on to the kernel's own socket look-up.
    Pass(PassReason<'a>),
    /// Its sender sees a closed port.
    Refuse(RefuseReason),
}

/// Why a packet is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason<'a> {
    /// It came through no VRF: none of the gate's business.
    NotVrf,
    /// A service is open to it.
    Rule {
        /// The leak that opens it.
        leak: &'a LeakName,
        /// The service's name there.
        service: &'a ServiceName,
    },
    /// Enforcing would have refused it, for this reason.
    Audit(RefuseReason),
}

/// Why a packet is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseReason {
    /// Nothing is open on that address and port.
    NoRule,
    /// Something is, but not to this client.
    SourceNotAllowed,
}

impl Desired {
    /// What a gate that holds this state does with a packet nobody listens for inside the VRF.
    #[must_use]
    pub fn decide(&self, packet: Packet) -> Verdict<'_> {
        let Some(vrf) = self.vrfs.iter().find(|vrf| vrf.is_shown_by(packet)) else {
            return Verdict::Pass(PassReason::NotVrf);
        };
        let matching: Vec<&OpenService> = vrf
            .services
            .iter()
            .filter(|service| service.opens(packet))
            .collect();
        if let Some(service) = matching
            .iter()
            .find(|service| service.admits(packet.remote))
        {
            return Verdict::Pass(PassReason::Rule {
                leak: &service.leak,
                service: &service.service,
            });
        }
        let reason = if matching.is_empty() {
            RefuseReason::NoRule
        } else {
            RefuseReason::SourceNotAllowed
        };
        match vrf.mode {
            Mode::Enforce => Verdict::Refuse(reason),
            Mode::Audit => Verdict::Pass(PassReason::Audit(reason)),
        }
    }
}

impl GatedVrf {
    /// Whether the packet came through this VRF. An IPv6 packet that shows a slave did not: it is for a link-local
    /// address of this host, and the kernel has it pass by the VRF.
    fn is_shown_by(&self, packet: Packet) -> bool {
        self.ifindex == packet.ingress
            || packet.local.is_ipv4() && self.slaves.contains(&packet.ingress)
    }
}

impl OpenService {
    fn opens(&self, packet: Packet) -> bool {
        self.protocol == packet.protocol
            && self.ports.contains(packet.local_port)
            && (self.addresses.contains(&packet.local)
                || self
                    .prefixes
                    .iter()
                    .any(|prefix| prefix.contains(packet.local)))
    }

    fn admits(&self, client: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|prefix| prefix.contains(client))
    }
}
