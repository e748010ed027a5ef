//! The gate's stage: the decision of the core on the rules in force, in words, and what to do about a refusal.

use std::collections::BTreeMap;

use vrfgate_core::{
    Decision, InForce, OpenSocket, Packet, PassReason, Posture, Protocol, RefuseReason, Rule, Vrf,
};
use vrfgate_ebpf::GateStatus;

use super::{
    case::{Case, End, Steps, other, sysctl},
    explanation::{Sees, Stage, Verdict},
};

/// The gate lets the packet through.
#[derive(Default)]
pub(super) struct Passage {
    /// Name of the rule that does.
    pub(super) rule: Option<String>,
    /// What to know although it passes.
    pub(super) advice: Option<String>,
}

impl Case<'_> {
    /// Goes on only when the gate, if there is one, lets the packet through.
    pub(super) fn gate(&self, steps: &mut Steps) -> Result<Passage, End> {
        let protocol = self.question.protocol;
        let Some(gate) = &self.facts.gate else {
            let trouble = self.facts.gate_trouble.as_ref();
            steps.found(
                Stage::Gate,
                format!(
                    "{}; {} is {}",
                    trouble.map_or("there is no gate", String::as_str),
                    sysctl(protocol),
                    u8::from(self.facts.accepts(protocol)),
                ),
            );
            return Ok(Passage::default());
        };
        let (vrfs, slaves) = (vrfs(gate), slaves(gate));
        let open_before: &[Protocol] = if was_open(gate, protocol) {
            &[protocol]
        } else {
            &[]
        };
        let in_force = InForce {
            vrfs: &vrfs,
            slaves: &slaves,
            open_before,
            sockets: &self.facts.sockets,
        };
        let decision = in_force.decide(Packet {
            ingress: self.ingress(),
            protocol,
            local: self.question.to.ip(),
            local_port: self.question.to.port(),
            remote: self.question.from,
        });
        match decision {
            Decision::Pass(reason) => Ok(self.passes(reason, &vrfs, steps)),
            Decision::Refuse(reason) => {
                for_other_clients(reason, steps);
                steps.found(Stage::Gate, "step 4: refused, as a closed port is");
                Err(self.refusal(reason, &vrfs))
            }
        }
    }

    fn passes(
        &self,
        reason: PassReason<'_>,
        vrfs: &BTreeMap<u32, Vrf>,
        steps: &mut Steps,
    ) -> Passage {
        let name = self.vrf_name();
        let mut passage = Passage::default();
        let finding = match reason {
            PassReason::NotVrf if self.past_vrf().is_some() => {
                "step 1: not through a VRF: passes".to_owned()
            }
            PassReason::NotVrf => {
                passage.advice = Some(format!(
                    "VRF {name} is open to everything until a `vrfgate run` sees it"
                ));
                format!("step 1: the gate doesn't know VRF {name} yet: passes")
            }
            PassReason::AsBefore => format!(
                "no leak names VRF {name}, and {} was 1 before the gate came: passes, as before",
                sysctl(self.question.protocol)
            ),
            PassReason::Rule(rule) => {
                passage.rule = Some(rule.name.clone());
                format!("step 2: rule {} lets it in", rule.name)
            }
            PassReason::Listener { socket, otherwise } => {
                for_other_clients(otherwise, steps);
                format!(
                    "step 3: {} waits inside the VRF: passes",
                    self.describe(socket)
                )
            }
            PassReason::Audit(reason) => {
                for_other_clients(reason, steps);
                passage.advice = Some(format!(
                    "under Enforce this is refused; before you switch, {}",
                    self.refusal(reason, vrfs).advice
                ));
                "step 4: nothing lists it, and the VRF is in Audit: passes, and is counted"
                    .to_owned()
            }
        };
        steps.found(Stage::Gate, finding);
        passage
    }

    fn refusal(&self, reason: RefuseReason<'_>, vrfs: &BTreeMap<u32, Vrf>) -> End {
        let end = |verdict, advice| End {
            verdict,
            sees: Sees::Refused,
            advice,
        };
        if let RefuseReason::SourceNotAllowed(rule) = reason {
            return end(
                Verdict::SourceNotAllowed,
                format!(
                    "add {} to `sources` of the service (rule {})",
                    self.question.from, rule.name
                ),
            );
        }
        let vrf = vrfs.get(&self.vrf.link.ifindex);
        let named = vrf.is_none_or(|vrf| vrf.posture != Posture::AsBefore);
        let verdict = if named {
            Verdict::NotListed
        } else {
            Verdict::VrfNotNamed
        };
        if let Some(advice) = self.leaks_that_failed() {
            return end(verdict, advice);
        }
        if !named {
            return end(
                verdict,
                format!(
                    "no leak names VRF {}: list {} in a VrfLeak with `vrf: {0}`{}",
                    self.vrf_name(),
                    self.listing(),
                    self.and_nobody_listens()
                ),
            );
        }
        let near = self
            .near_miss(vrfs)
            .map_or_else(String::new, |near| format!(" ({near})"));
        end(
            verdict,
            format!(
                "list {} in a VrfLeak of VRF {}{near}{}",
                self.listing(),
                self.vrf_name(),
                self.and_nobody_listens()
            ),
        )
    }

    /// A rule that was perhaps meant to list the packet.
    fn near_miss(&self, vrfs: &BTreeMap<u32, Vrf>) -> Option<String> {
        let (to, protocol) = (self.question.to, self.question.protocol);
        let ifindex = self.vrf.link.ifindex;
        let lists = |rule: &Rule, protocol| rule.lists(protocol, to.port(), to.ip());
        let rules = || vrfs.get(&ifindex).into_iter().flat_map(|vrf| &vrf.rules);
        let other_protocol = rules()
            .find(|rule| lists(rule, other(protocol)))
            .map(|rule| {
                format!(
                    "rule {} lists {}, not {protocol}",
                    rule.name,
                    other(protocol)
                )
            });
        let other_address = || {
            rules()
                .find(|rule| {
                    let mut opens = rule.opens.iter();
                    opens.any(|opening| {
                        opening.protocol == protocol && opening.ports.contains(to.port())
                    })
                })
                .map(|rule| format!("rule {} lists the port on other addresses", rule.name))
        };
        let other_vrf = || {
            vrfs.iter()
                .filter(|(other, _)| **other != ifindex)
                .find(|(_, other)| other.rules.iter().any(|rule| lists(rule, protocol)))
                .map(|(_, other)| format!("VRF {} has it listed", other.name))
        };
        other_protocol.or_else(other_address).or_else(other_vrf)
    }

    fn and_nobody_listens(&self) -> &'static str {
        let to = self.question.to.ip();
        let listens = |socket: &OpenSocket| socket.takes_address(to) && socket.device.is_none();
        if self.lookup().on_port().any(listens) {
            ""
        } else {
            "; no unbound socket listens there either"
        }
    }
}

/// The finding of step 2 where a rule lists the packet and doesn't admit it.
fn for_other_clients(reason: RefuseReason<'_>, steps: &mut Steps) {
    if let RefuseReason::SourceNotAllowed(rule) = reason {
        steps.found(
            Stage::Gate,
            format!("step 2: rule {} is for other clients", rule.name),
        );
    }
}

fn vrfs(gate: &GateStatus) -> BTreeMap<u32, Vrf> {
    let vrfs = gate.vrfs.iter().map(|status| {
        let rules = status.rules.iter();
        let vrf = Vrf {
            name: status.name.clone(),
            posture: status.posture,
            rules: rules.map(|status| status.rule.clone()).collect(),
        };
        (status.ifindex, vrf)
    });
    vrfs.collect()
}

fn slaves(gate: &GateStatus) -> BTreeMap<u32, u32> {
    let vrfs = gate.vrfs.iter();
    vrfs.flat_map(|vrf| vrf.slaves.iter().map(|slave| (*slave, vrf.ifindex)))
        .collect()
}

fn was_open(gate: &GateStatus, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => gate.sysctls.former.tcp,
        Protocol::Udp => gate.sysctls.former.udp,
    }
    .unwrap_or(false)
}
