//! The gate's decision about one packet, with its reason.
//!
//! Owns the decision list, in the order that `decide` of `ebpf/program` has it. It walks lists where the BPF program
//! hashes, and must not know maps, keys or counters, so that a mistake in one is not repeated in the other. `vrfgate
//! explain` shows this decision, and tests compare the program's with it.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{OpenSocket, Posture, Protocol, Rule, RuleSet, Vrf};

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

/// What is in force in a namespace: all that a decision depends on besides the packet.
///
/// Not a [`RuleSet`], because what is read of a gate while it changes need not be one.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// By ifindex of the VRF device.
    pub vrfs: &'a BTreeMap<u32, Vrf>,
    /// The VRF device that each slave belongs to, both by ifindex.
    pub slaves: &'a BTreeMap<u32, u32>,
    /// Protocols whose unbound sockets every VRF reached before the gate came: their `l3mdev_accept` was 1.
    pub open_before: &'a [Protocol],
    /// The open sockets of the namespace.
    pub sockets: &'a [OpenSocket],
}

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It goes on to the kernel's own socket look-up.
    Pass(PassReason<'a>),
    /// Its sender sees a closed port.
    Refuse(RefuseReason<'a>),
}

/// Why a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason<'a> {
    /// It came through no VRF of the gate: none of the gate's business.
    NotVrf,
    /// No leak names its VRF, and the VRF was open before the gate came.
    AsBefore,
    /// A rule admits it.
    Rule(&'a Rule),
    /// A socket that is bound to the VRF, or to a slave of it, waits for it.
    Listener {
        /// The first such socket.
        socket: &'a OpenSocket,
        /// Why it would be refused without the socket.
        otherwise: RefuseReason<'a>,
    },
    /// The VRF is audited. Enforcing would have refused the packet, for this reason.
    Audit(RefuseReason<'a>),
}

/// Why no rule admits a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseReason<'a> {
    /// No rule lists its address and port.
    NotListed,
    /// This rule does, but not for this client.
    SourceNotAllowed(&'a Rule),
}

impl<'a> From<&'a RuleSet> for InForce<'a> {
    /// These rules, where nothing was open before the gate came and no socket is open.
    fn from(rules: &'a RuleSet) -> Self {
        Self {
            vrfs: rules.vrfs(),
            slaves: rules.slaves(),
            open_before: &[],
            sockets: &[],
        }
    }
}

impl<'a> InForce<'a> {
    /// What the gate does with a packet.
    #[must_use]
    pub fn decide(&self, packet: Packet) -> Decision<'a> {
        // 1. Not through a VRF.
        let Some((ifindex, vrf)) = self.vrf_of(packet) else {
            return Decision::Pass(PassReason::NotVrf);
        };
        if vrf.posture == Posture::AsBefore && self.open_before.contains(&packet.protocol) {
            return Decision::Pass(PassReason::AsBefore);
        }

        // 2. A rule lists the address and the port, and the client may use it.
        let listed = |rule: &&Rule| rule.lists(packet.protocol, packet.local_port, packet.local);
        let reason = match vrf.rules.iter().find(listed) {
            Some(rule) if rule.admits(packet.remote) => {
                return Decision::Pass(PassReason::Rule(rule));
            }
            Some(rule) => RefuseReason::SourceNotAllowed(rule),
            None => RefuseReason::NotListed,
        };

        // 3. A socket waits for the packet inside the VRF.
        if let Some(socket) = self.bound_listener(ifindex, packet) {
            return Decision::Pass(PassReason::Listener {
                socket,
                otherwise: reason,
            });
        }

        // 4. Nobody asked for it. What is as before is closed here: step 1 has passed what was open.
        match vrf.posture {
            Posture::Enforced | Posture::AsBefore => Decision::Refuse(reason),
            Posture::Audited => Decision::Pass(PassReason::Audit(reason)),
        }
    }

    /// The VRF that the packet came through, with its ifindex. An IPv6 packet that shows a slave did not come through
    /// the VRF: it is for a link-local address of this host.
    fn vrf_of(&self, packet: Packet) -> Option<(u32, &'a Vrf)> {
        let gated = |ifindex: u32| Some((ifindex, self.vrfs.get(&ifindex)?));
        gated(packet.ingress).or_else(|| {
            let master = self.slaves.get(&packet.ingress);
            master
                .filter(|_| packet.local.is_ipv4())
                .and_then(|&vrf| gated(vrf))
        })
    }

    /// The bound socket that waits for the packet, if the kernel would not pass it over for an unbound one.
    ///
    /// The kernel looks for sockets on the very address first and for wildcards after, whatever they are bound to. It
    /// doesn't show the slave that the packet came by, so a socket that is bound to any slave counts, but only where no
    /// unbound socket could have the packet instead.
    fn bound_listener(&self, vrf: u32, packet: Packet) -> Option<&'a OpenSocket> {
        let on_vrf = |device: Option<u32>| device == Some(vrf);
        let on_slave = |device: Option<u32>| {
            device.is_some_and(|device| self.slaves.get(&device) == Some(&vrf))
        };
        let unbound = |device: Option<u32>| device.is_none();

        let find = |wildcard: bool, is_wanted: &dyn Fn(Option<u32>) -> bool| {
            self.sockets.iter().find(|socket| {
                socket.address.is_unspecified() == wildcard
                    && is_wanted(socket.device)
                    && socket.takes(packet.protocol, packet.local_port, packet.local)
            })
        };
        if let Some(socket) = find(false, &on_vrf) {
            return Some(socket);
        }
        if find(false, &unbound).is_some() {
            return None;
        }
        find(true, &on_vrf).or_else(|| {
            find(false, &on_slave)
                .or_else(|| find(true, &on_slave))
                .filter(|_| find(true, &unbound).is_none())
        })
    }
}
