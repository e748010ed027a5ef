//! What a gate closes that was open: on a host whose sysctls were 1, and to a VRF that was audited, every unbound listener
//! was open until a leak named the VRF, or said `Enforce`. Said when it happens, and for as long as it concerns anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    ops::RangeInclusive,
};

use vrfgate_ebpf::{
    Gate, GateStatus, L3mdevAccept, Mode, Netns, OpenSocket, Protocol, SocketsInSight, Store,
    sockets_in_sight,
};

use super::{LeakReport, LeakState, ProbeError, Watcher, processes};
use crate::explain::{Access, Closed, Processes, closed};
use vrfgate_core::{Desired, GatedVrf, NodeFacts};

/// Listeners that are named; more are counted.
const NAMED: usize = 10;

/// Addresses of the main domain that the kernel is asked about, whether a VRF reaches them. A host may have thousands, of
/// its cluster's Services; beyond these, they are taken for reached.
const ASKED_ABOUT: usize = 256;

/// Ports that the kernel gives to UDP clients, which are no services (`net.ipv4.ip_local_port_range`).
const CLIENT_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The sockets of a namespace that may be listeners, without those that are clients.
pub fn listeners(netns: &Netns) -> Result<Vec<OpenSocket>, ProbeError> {
    let clients = client_ports(netns);
    let is_client = |port: u16| clients.as_ref().is_some_and(|ports| ports.contains(&port));
    // Those that the kernel doesn't list, it doesn't: that is told beside.
    let both = [Protocol::Tcp, Protocol::Udp];
    let SocketsInSight { mut sockets, .. } = sockets_in_sight(netns, &both)?;
    sockets.retain(|socket| socket.protocol == Protocol::Tcp || !is_client(socket.port));
    Ok(sockets)
}

/// `None` where the kernel doesn't tell: then clients are taken for listeners.
fn client_ports(netns: &Netns) -> Option<RangeInclusive<u16>> {
    let text = netns.run(|| fs::read_to_string(CLIENT_PORTS)).ok()?.ok()?;
    let mut ends = text.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

/// The addresses of a host that clients of a VRF reach without our routes, whatever listens there.
pub async fn reachable(
    watcher: &Watcher,
    facts: &NodeFacts,
    vrf: u32,
) -> Result<BTreeSet<IpAddr>, ProbeError> {
    let [mut reachable, main] = facts.addresses_around(vrf);
    let mut asked: BTreeSet<IpAddr> = main
        .into_iter()
        .filter(|address| !address.is_loopback())
        .collect();
    if let Some(beyond) = asked.iter().nth(ASKED_ABOUT).copied() {
        reachable.extend(asked.split_off(&beyond));
    }
    reachable.extend(watcher.delivered_to(vrf, asked).await?);
    Ok(reachable)
}

/// The listeners of a namespace that a VRF's clients reach `before`, and not `after`.
pub async fn closings(
    watcher: &Watcher,
    netns: &Netns,
    facts: &NodeFacts,
    vrf: u32,
    before: &Access,
    after: &Access,
) -> Result<Vec<Closed>, ProbeError> {
    let sockets = listeners(netns)?;
    let reachable = reachable(watcher, facts, vrf).await?;
    let found = |processes: &Processes| closed(&sockets, &reachable, before, after, processes);
    // Looking for processes takes longer than all the rest, and mostly there is nothing to look for.
    let ports: BTreeSet<(Protocol, u16)> = found(&Processes::default())
        .iter()
        .map(|closed| (closed.protocol, closed.port))
        .collect();
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let inodes = sockets
        .iter()
        .filter(|socket| ports.contains(&(socket.protocol, socket.port)))
        .map(|socket| socket.inode);
    Ok(found(&processes::of(&inodes.collect())))
}

/// What was open to VRFs before leaks closed it.
#[derive(Default)]
pub struct Closings {
    /// Modes of VRFs by name, as last put into force.
    modes: BTreeMap<String, Mode>,
    /// Whether UDP was let in where a VRF was audited.
    udp: bool,
    /// VRFs that were audited and are not any more, and whether that was for UDP, too.
    audited: BTreeMap<String, bool>,
    /// VRFs that are enforced and were open, as last put into force.
    enforced: Vec<GatedVrf>,
    /// The sentences to tell, by VRF.
    told: BTreeMap<String, String>,
    /// Those that have been put into reports.
    said: BTreeSet<String>,
}

impl Closings {
    /// What is in force when somebody begins to look after a namespace.
    pub fn of(store: &Store, netns: &Netns) -> Self {
        // Where it can't be read, whatever else needs it says so.
        match Gate::inspect(store, netns) {
            Ok(Some(gate)) => Self::follows(&gate),
            _ => Self::default(),
        }
    }

    fn follows(gate: &GateStatus) -> Self {
        let modes = gate.vrfs.iter().map(|vrf| (vrf.name.clone(), vrf.mode));
        Self {
            modes: modes.collect(),
            udp: gate.sysctls.now.udp == Some(true),
            ..Self::default()
        }
    }

    /// Notes what has been put into force.
    pub fn follow(&mut self, desired: &Desired, former: L3mdevAccept) {
        let mut modes = BTreeMap::new();
        for vrf in &desired.vrfs {
            let mode = mode_of(vrf);
            let before = self.modes.get(&vrf.name);
            if mode != Mode::Enforce {
                self.audited.remove(&vrf.name);
            } else if before == Some(&Mode::Audit) {
                self.audited.insert(vrf.name.clone(), self.udp);
            }
            modes.insert(vrf.name.clone(), mode);
        }
        self.audited.retain(|name, _| modes.contains_key(name));
        self.modes = modes;
        let enforced = desired
            .vrfs
            .iter()
            .filter(|vrf| self.before(vrf, former).is_some());
        self.enforced = enforced.cloned().collect();
        let mut services = desired.vrfs.iter().flat_map(|vrf| &vrf.services);
        self.udp = former.udp == Some(true)
            || services.any(|service| service.protocol == vrfgate_core::Protocol::Udp);
    }

    /// What clients of a VRF could reach before it was closed, and why.
    fn before(&self, vrf: &GatedVrf, former: L3mdevAccept) -> Option<(Access, String)> {
        if mode_of(vrf) != Mode::Enforce {
            return None;
        }
        if let Some(udp) = self.audited.get(&vrf.name) {
            let before = Access::All {
                tcp: true,
                udp: *udp,
            };
            return Some((before, "the VRF was audited".to_owned()));
        }
        let before = Access::ungated(former);
        let why = why_open(former)?;
        Some((before, format!("{why} before the gate")))
    }

    /// Looks which listeners are closed that were open. On an error, what was found last is told on.
    pub async fn look(
        &mut self,
        watcher: &Watcher,
        netns: &Netns,
        facts: &NodeFacts,
        former: L3mdevAccept,
    ) -> Result<(), ProbeError> {
        let mut told = BTreeMap::new();
        for vrf in &self.enforced {
            let Some((before, why)) = self.before(vrf, former) else {
                continue;
            };
            let after = Access::asked_for(vrf, former, true);
            let closed = closings(watcher, netns, facts, vrf.ifindex, &before, &after).await?;
            if !closed.is_empty() {
                told.insert(vrf.name.clone(), sentence(&vrf.name, &why, &closed));
            }
        }
        self.told = told;
        Ok(())
    }

    /// Says in the reports of leaks which listeners they close. One leak of several of a VRF says it: they close
    /// them together.
    pub fn tell(&mut self, leaks: &mut [LeakReport]) {
        for leak in leaks.iter_mut() {
            leak.notes.retain(|note| !self.said.contains(note));
        }
        self.said = BTreeSet::new();
        for (vrf, sentence) in &self.told {
            let mut of_vrf = leaks
                .iter_mut()
                .filter(|leak| leak.vrf == *vrf && leak.state == LeakState::InForce);
            if let Some(leak) = of_vrf.next() {
                leak.notes.push(sentence.clone());
                self.said.insert(sentence.clone());
            }
        }
    }

    /// Whether there is anything to look after, now and then.
    pub fn any(&self) -> bool {
        !self.told.is_empty()
    }
}

/// Which sysctls opened VRFs; `None` when none did.
#[must_use]
pub fn why_open(sysctls: L3mdevAccept) -> Option<String> {
    let open = [("tcp", sysctls.tcp), ("udp", sysctls.udp)];
    let open: Vec<String> = open
        .into_iter()
        .filter(|(_, value)| *value == Some(true))
        .map(|(protocol, _)| format!("{protocol}_l3mdev_accept"))
        .collect();
    match open.as_slice() {
        [] => None,
        [one] => Some(format!("{one} was 1")),
        several => Some(format!("{} were 1", several.join(" and "))),
    }
}

fn mode_of(vrf: &GatedVrf) -> Mode {
    match (vrf.named_by_leak, vrf.mode) {
        (false, _) => Mode::AsBefore,
        (true, vrfgate_core::Mode::Audit) => Mode::Audit,
        (true, vrfgate_core::Mode::Enforce) => Mode::Enforce,
    }
}

/// As the end of a sentence about a leak.
fn sentence(vrf: &str, why: &str, closed: &[Closed]) -> String {
    let named: Vec<String> = closed.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match closed.len().checked_sub(NAMED) {
        None | Some(0) => String::new(),
        Some(more) => format!("; and {more} more (`vrfgate doctor -f` names all)"),
    };
    format!(
        "closes to VRF {vrf} what was open to it, because {why}: {}{more}. List under `services` what its clients need",
        named.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(port: u16) -> Closed {
        Closed {
            protocol: Protocol::Tcp,
            port,
            address: "*".to_owned(),
            process: "sshd (process 812)".to_owned(),
            only_on: Vec::new(),
        }
    }

    fn vrf(named_by_leak: bool, mode: vrfgate_core::Mode) -> GatedVrf {
        GatedVrf {
            name: "BLUE".to_owned(),
            ifindex: 7,
            slaves: Vec::new(),
            mode,
            named_by_leak,
            services: Vec::new(),
        }
    }

    fn desired(vrf: GatedVrf) -> Desired {
        Desired {
            vrfs: vec![vrf],
            ..Desired::default()
        }
    }

    const OPEN: L3mdevAccept = L3mdevAccept {
        tcp: Some(true),
        udp: Some(false),
    };
    const SHUT: L3mdevAccept = L3mdevAccept {
        tcp: Some(false),
        udp: Some(false),
    };

    #[test]
    fn many_listeners_are_counted_and_the_first_are_named() {
        let all: Vec<Closed> = (1..=12).map(closed).collect();
        let text = sentence("BLUE", "tcp_l3mdev_accept was 1 before the gate", &all);
        assert!(
            text.contains("TCP port 10 of sshd (process 812) on *; and 2 more"),
            "{text}"
        );
        assert!(!text.contains("port 11"), "{text}");
        let few = sentence("BLUE", "tcp_l3mdev_accept was 1 before the gate", &all[..2]);
        assert!(few.contains("port 1 of") && !few.contains("more"), "{few}");
    }

    #[test]
    fn a_vrf_that_is_enforced_was_open_as_far_as_the_sysctls_went() {
        let mut closings = Closings::default();
        let enforced = vrf(true, vrfgate_core::Mode::Enforce);
        closings.follow(&desired(enforced.clone()), OPEN);
        let (before, why) = closings.before(&enforced, OPEN).unwrap();
        assert_eq!(
            before,
            Access::All {
                tcp: true,
                udp: false
            }
        );
        assert_eq!(why, "tcp_l3mdev_accept was 1 before the gate");
        assert_eq!(closings.before(&enforced, SHUT), None);
        assert_eq!(
            closings.before(&vrf(false, vrfgate_core::Mode::Enforce), OPEN),
            None
        );
        assert_eq!(
            closings.before(&vrf(true, vrfgate_core::Mode::Audit), OPEN),
            None
        );
    }

    #[test]
    fn a_vrf_that_was_audited_was_open_until_it_is_audited_again_or_gone() {
        let (audited, enforced) = (
            vrf(true, vrfgate_core::Mode::Audit),
            vrf(true, vrfgate_core::Mode::Enforce),
        );
        let mut closings = Closings::default();
        closings.follow(&desired(audited.clone()), SHUT);
        closings.follow(&desired(enforced.clone()), SHUT);
        closings.follow(&desired(enforced.clone()), SHUT);
        let (before, why) = closings.before(&enforced, SHUT).unwrap();
        assert_eq!(
            before,
            Access::All {
                tcp: true,
                udp: false
            }
        );
        assert!(why.contains("audited"), "{why}");

        closings.follow(&desired(audited), SHUT);
        assert!(closings.audited.is_empty());
        closings.follow(&desired(enforced.clone()), SHUT);
        closings.follow(&Desired::default(), SHUT);
        closings.follow(&desired(enforced.clone()), SHUT);
        assert_eq!(closings.before(&enforced, SHUT), None);
    }
}
