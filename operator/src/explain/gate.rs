//! The gate's part: its decision list, on the rules that are in force.

use vrfgate_ebpf::{GateStatus, Mode, OpenSocket, Protocol, Rule, VrfStatus};

use super::judge::{Case, End, Sees, Stage, Steps, Verdict};
use super::sockets::{other, takes_address};

/// The gate lets the packet through.
#[derive(Default)]
pub(super) struct Passage<'a> {
    /// The rule that does.
    pub(super) rule: Option<&'a Rule>,
    /// What a person should know although it does.
    pub(super) advice: Option<String>,
}

impl Case<'_> {
    /// Goes on only when the gate, if there is one, lets the packet through.
    pub(super) fn gate(&self, steps: &mut Steps) -> Result<Passage<'_>, End> {
        let Some(gate) = &self.facts.gate else {
            let trouble = self.facts.gate_trouble.as_ref();
            steps.found(
                Stage::Gate,
                format!(
                    "{}; {} is {}",
                    trouble.map_or("there is no gate", String::as_str),
                    sysctl(self.question.protocol),
                    u8::from(self.facts.accepts(self.question.protocol)),
                ),
            );
            return Ok(Passage::default());
        };
        if self.past_vrf().is_some() {
            steps.found(Stage::Gate, "step 1: not through a VRF: passes");
            return Ok(Passage::default());
        }
        let ifindex = self.vrf.link.ifindex;
        let Some(vrf) = gate.vrfs.iter().find(|vrf| vrf.ifindex == ifindex) else {
            steps.found(
                Stage::Gate,
                format!(
                    "step 1: the gate doesn't know VRF {} yet: passes",
                    self.vrf_name()
                ),
            );
            return Ok(Passage {
                rule: None,
                advice: Some(format!(
                    "VRF {} is open to everything until a `vrfgate run` sees it",
                    self.vrf_name()
                )),
            });
        };
        if vrf.mode == Mode::AsBefore && was_open(gate, self.question.protocol) {
            steps.found(
                Stage::Gate,
                format!(
                    "no leak names VRF {}, and {} was 1 before the gate came: passes, as before",
                    self.vrf_name(),
                    sysctl(self.question.protocol)
                ),
            );
            return Ok(Passage::default());
        }
        self.rules(gate, vrf, steps)
    }

    fn rules<'a>(
        &self,
        gate: &GateStatus,
        vrf: &'a VrfStatus,
        steps: &mut Steps,
    ) -> Result<Passage<'a>, End> {
        let listed = vrf
            .rules
            .iter()
            .map(|status| &status.rule)
            .find(|rule| self.lists(rule));
        let client = self.question.from;
        match listed {
            Some(rule) if admits(rule, client) => {
                steps.found(
                    Stage::Gate,
                    format!("step 2: rule {} lets it in", rule.name),
                );
                return Ok(Passage {
                    rule: Some(rule),
                    advice: None,
                });
            }
            Some(rule) => steps.found(
                Stage::Gate,
                format!("step 2: rule {} is for other clients", rule.name),
            ),
            None => {}
        }
        if let Some(socket) = self.lookup().bound() {
            steps.found(
                Stage::Gate,
                format!(
                    "step 3: {} waits inside the VRF: passes",
                    self.describe(socket)
                ),
            );
            return Ok(Passage::default());
        }
        let end = self.refusal(gate, vrf, listed);
        if vrf.mode == Mode::Audit {
            steps.found(
                Stage::Gate,
                "step 4: nothing lists it, and the VRF is in Audit: passes, and is counted",
            );
            return Ok(Passage {
                rule: None,
                advice: Some(format!(
                    "under Enforce this is refused; before you switch, {}",
                    end.advice
                )),
            });
        }
        steps.found(Stage::Gate, "step 4: refused, as a closed port is");
        Err(end)
    }

    fn refusal(&self, gate: &GateStatus, vrf: &VrfStatus, listed: Option<&Rule>) -> End {
        let end = |verdict, advice| End {
            verdict,
            sees: Sees::Refused,
            advice,
        };
        if let Some(rule) = listed {
            return end(
                Verdict::SourceNotAllowed,
                format!(
                    "add {} to `sources` of the service (rule {})",
                    self.question.from, rule.name
                ),
            );
        }
        let verdict = if vrf.mode == Mode::AsBefore {
            Verdict::VrfNotNamed
        } else {
            Verdict::NotListed
        };
        if let Some(advice) = self.leaks_that_failed() {
            return end(verdict, advice);
        }
        if vrf.mode == Mode::AsBefore {
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
            .near_miss(gate, vrf)
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

    /// What is in the way of leaks of this VRF, any of which may list the service.
    pub(super) fn leaks_that_failed(&self) -> Option<String> {
        let (leak, why) = self.facts.failed.first()?;
        Some(format!(
            "leak {leak} of VRF {} is not in force: it {why}",
            self.vrf_name()
        ))
    }

    /// A rule that was perhaps meant.
    fn near_miss(&self, gate: &GateStatus, vrf: &VrfStatus) -> Option<String> {
        let port = self.question.to.port();
        let protocol = self.question.protocol;
        let rules = || vrf.rules.iter().map(|status| &status.rule);
        let other_protocol = rules()
            .find(|rule| self.lists_for(rule, other(protocol)))
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
                        opening.protocol == protocol && opening.ports.contains(&port)
                    })
                })
                .map(|rule| format!("rule {} lists the port on other addresses", rule.name))
        };
        let other_vrf = || {
            gate.vrfs
                .iter()
                .filter(|other| other.ifindex != vrf.ifindex)
                .find(|other| other.rules.iter().any(|status| self.lists(&status.rule)))
                .map(|other| format!("VRF {} has it listed", other.name))
        };
        other_protocol.or_else(other_address).or_else(other_vrf)
    }

    fn and_nobody_listens(&self) -> &'static str {
        let to = self.question.to.ip();
        let listens = |socket: &OpenSocket| takes_address(socket, to) && socket.device.is_none();
        if self.lookup().on_port().any(listens) {
            ""
        } else {
            "; no unbound socket listens there either"
        }
    }

    fn lists(&self, rule: &Rule) -> bool {
        self.lists_for(rule, self.question.protocol)
    }

    fn lists_for(&self, rule: &Rule, protocol: Protocol) -> bool {
        let to = self.question.to;
        let mut opens = rule.opens.iter();
        opens.any(|opening| opening.protocol == protocol && opening.holds(to.port(), to.ip()))
    }
}

fn admits(rule: &Rule, client: std::net::IpAddr) -> bool {
    rule.sources.is_empty() || rule.sources.iter().any(|prefix| prefix.contains(&client))
}

fn was_open(gate: &GateStatus, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => gate.sysctls.former.tcp,
        Protocol::Udp => gate.sysctls.former.udp,
    }
    .unwrap_or(false)
}

/// Name of the protocol's switch.
pub(super) const fn sysctl(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp_l3mdev_accept",
        Protocol::Udp => "udp_l3mdev_accept",
    }
}
