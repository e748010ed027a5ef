//! Listeners that a gate closes and that were open before. On a host whose sysctls were 1, and to a VRF that was audited,
//! every unbound listener was open until a leak named the VRF, or had mode `Enforce`. Reports them when it happens, and for
//! as long as they are there.

mod listeners;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;
use vrfgate_core::{Desired, GatedVrf, NodeFacts, Posture, Protocol};
use vrfgate_ebpf::{Gate, GateStatus, L3mdevAccept, Netns, Store};

pub use self::listeners::closings;
use super::{LeakReport, LeakState, ProbeError, Watcher};
use crate::{
    facts::{Access, Closed},
    some_of::some_of,
};

/// How often listeners that were closed are looked for again, while there are any.
const POLL_EVERY: Duration = Duration::from_secs(30);

/// Listeners that are named; more are counted.
const NAMED: usize = 10;

/// What was open to VRFs before leaks closed it.
#[derive(Default)]
pub struct Closings {
    /// Modes of VRFs by name, as last put into force.
    modes: BTreeMap<String, Posture>,
    /// Whether UDP was let in where a VRF was audited.
    udp: bool,
    /// VRFs that were audited and are not any more, and whether that was for UDP, too.
    audited: BTreeMap<String, bool>,
    /// VRFs that are enforced and were open, as last put into force.
    enforced: Vec<GatedVrf>,
    /// The sentences to report, by VRF.
    found: BTreeMap<String, String>,
    /// Those that are in reports.
    reported: BTreeSet<String>,
    /// When to look again; `None` before the first time.
    due: Option<Instant>,
}

impl Closings {
    /// Begins with what is in force in a namespace.
    pub fn of(store: &Store, netns: &Netns) -> Self {
        // Where it can't be read, whatever else needs it reports so.
        match Gate::inspect(store, netns) {
            Ok(Some(gate)) => Self::follows(&gate),
            _ => Self::default(),
        }
    }

    fn follows(gate: &GateStatus) -> Self {
        let modes = gate.vrfs.iter().map(|vrf| (vrf.name.clone(), vrf.posture));
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
            let mode = vrf.posture;
            let before = self.modes.get(&vrf.name);
            if mode != Posture::Enforced {
                self.audited.remove(&vrf.name);
            } else if before == Some(&Posture::Audited) {
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
        self.udp =
            former.udp == Some(true) || services.any(|service| service.protocol == Protocol::Udp);
    }

    /// What clients of a VRF could reach before it was closed, and why.
    fn before(&self, vrf: &GatedVrf, former: L3mdevAccept) -> Option<(Access, String)> {
        if vrf.posture != Posture::Enforced {
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

    /// Looks for listeners that are closed and were open, and adds them to the reports of leaks. On an error, what was
    /// found last is reported again.
    pub async fn report(
        &mut self,
        watcher: &Watcher,
        netns: &Netns,
        facts: &NodeFacts,
        former: L3mdevAccept,
        leaks: &mut [LeakReport],
    ) {
        self.due = Some(Instant::now() + POLL_EVERY);
        match self.find(watcher, netns, facts, former).await {
            Ok(found) => self.found = found,
            Err(error) => warn!("looking for listeners that leaks close: {error}"),
        }
        self.add_to(leaks);
    }

    /// The sentences to report, by VRF.
    async fn find(
        &self,
        watcher: &Watcher,
        netns: &Netns,
        facts: &NodeFacts,
        former: L3mdevAccept,
    ) -> Result<BTreeMap<String, String>, ProbeError> {
        let mut found = BTreeMap::new();
        for vrf in &self.enforced {
            let Some((before, why)) = self.before(vrf, former) else {
                continue;
            };
            let after = Access::asked_for(vrf, former, true);
            let closed = closings(watcher, netns, facts, vrf.ifindex, &before, &after).await?;
            if !closed.is_empty() {
                found.insert(vrf.name.clone(), sentence(&vrf.name, &why, &closed));
            }
        }
        Ok(found)
    }

    /// One leak of several of a VRF gets the sentence: they close the listeners together.
    fn add_to(&mut self, leaks: &mut [LeakReport]) {
        for leak in leaks.iter_mut() {
            leak.notes.retain(|note| !self.reported.contains(note));
        }
        self.reported = BTreeSet::new();
        for (vrf, sentence) in &self.found {
            let mut of_vrf = leaks
                .iter_mut()
                .filter(|leak| leak.vrf == *vrf && leak.state == LeakState::InForce);
            if let Some(leak) = of_vrf.next() {
                leak.notes.push(sentence.clone());
                self.reported.insert(sentence.clone());
            }
        }
    }

    /// Whether it is time for another [`Closings::report`].
    pub fn is_due(&self) -> bool {
        !self.found.is_empty() && self.due.is_none_or(|due| Instant::now() >= due)
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

/// As the end of a sentence about a leak.
fn sentence(vrf: &str, why: &str, closed: &[Closed]) -> String {
    let named = some_of(closed, NAMED, "; ", "; ");
    let more = if closed.len() > NAMED {
        " (`vrfgate doctor -f` names all)"
    } else {
        ""
    };
    format!(
        "closes to VRF {vrf} what was open to it, because {why}: {named}{more}. List under `services` what its clients need"
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

    fn vrf(posture: Posture) -> GatedVrf {
        GatedVrf {
            name: "BLUE".to_owned(),
            ifindex: 7,
            slaves: Vec::new(),
            posture,
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
        let enforced = vrf(Posture::Enforced);
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
        assert_eq!(closings.before(&vrf(Posture::AsBefore), OPEN), None);
        assert_eq!(closings.before(&vrf(Posture::Audited), OPEN), None);
    }

    #[test]
    fn a_vrf_that_was_audited_was_open_until_it_is_audited_again_or_gone() {
        let (audited, enforced) = (vrf(Posture::Audited), vrf(Posture::Enforced));
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
