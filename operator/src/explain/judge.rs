//! The walk: device, policy and route, gate, socket, reply. The first stage that fails is the verdict.

use serde::Serialize;
use vrfgate_ebpf::OpenSocket;

use super::{
    Facts, Question,
    facts::Vrf,
    sockets::{Lookup, describe},
};

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was looked at, in the packet's order, as far as it came.
    pub steps: Vec<Step>,
    /// How it ends.
    pub verdict: Verdict,
    /// What the client sees.
    pub client_sees: Sees,
    /// What to do.
    pub advice: String,
}

/// A part of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// What was found there.
    pub finding: String,
}

/// The parts of the way, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// The VRF and its slaves.
    Device,
    /// The policy database.
    Policy,
    /// The route that decides.
    Route,
    /// The gate.
    Gate,
    /// The socket that takes the packet.
    Socket,
    /// The way back.
    Reply,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// A socket takes it, and its answer arrives.
    Served,
    /// No device has the VRF's name.
    NoSuchVrf,
    /// The device is no VRF.
    NotAVrf,
    /// The kernel doesn't say which table the VRF has.
    TableUnknown,
    /// The VRF has no slave.
    NoInterface,
    /// VRF or slaves are down.
    InterfaceDown,
    /// No table has a route.
    NoRoute,
    /// A route or a policy rule says no.
    Unreachable,
    /// The reverse path filter drops it.
    ReversePath,
    /// The client's address can't be one here.
    ImpossibleSource,
    /// An address of this host that a route sends elsewhere instead of delivering it.
    NotDelivered,
    /// No address of this host.
    Forwarded,
    /// Broadcast and the like.
    NotUnicast,
    /// No rule of the gate lists it.
    NotListed,
    /// A rule lists it, for other clients.
    SourceNotAllowed,
    /// No leak names the VRF.
    VrfNotNamed,
    /// Only unbound sockets would take it, and there is no gate that opens them.
    NoGate,
    /// Only unbound sockets would take it, and the sysctl is 0 although there is a gate.
    SysctlClosed,
    /// Nothing listens on the port.
    NoListener,
    /// What listens, listens on the loopback address.
    ListenerOnLoopback,
    /// What listens, listens on another address.
    ListenerOnOtherAddress,
    /// What listens is bound to another VRF or device.
    ListenerOnOtherDevice,
    /// The answer doesn't find its way back.
    ReplyLost,
    /// The answer comes from an address the client didn't ask.
    ReplyFromWrongAddress,
}

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Sees {
    /// An answer.
    Answer,
    /// A closed port.
    Refused,
    /// Nothing.
    Silence,
    /// No route to host, or to the network.
    Unreachable,
    /// That is decided elsewhere.
    Unknown,
}

impl Sees {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Answer => "an answer",
            Self::Refused => "a closed port",
            Self::Silence => "nothing, and gives up in time",
            Self::Unreachable => "\"no route to host\"",
            Self::Unknown => "what is decided elsewhere",
        }
    }
}

impl Explanation {
    /// Whether the packet is served and answered.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.verdict == Verdict::Served
    }
}

/// The end of the way.
pub(super) struct End {
    pub(super) verdict: Verdict,
    pub(super) sees: Sees,
    pub(super) advice: String,
}

/// A packet on its way: what is known of it once its VRF is.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts,
    pub(super) question: &'a Question,
    pub(super) vrf: Vrf<'a>,
    /// The slave it comes in by, as far as is known.
    pub(super) slave: Option<u32>,
}

impl Case<'_> {
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            facts: self.facts,
            question: self.question,
            vrf: self.vrf.link.ifindex,
            slave: self.slave,
            past_vrf: self.past_vrf(),
        }
    }

    pub(super) fn vrf_name(&self) -> &str {
        &self.vrf.link.name
    }

    pub(super) fn describe(&self, socket: &OpenSocket) -> String {
        describe(self.facts, socket)
    }

    /// The service as an entry of a leak.
    pub(super) fn listing(&self) -> String {
        format!(
            "{} port {} of {}",
            self.question.protocol,
            self.question.to.port(),
            self.question.to.ip()
        )
    }
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    pub(super) fn found(&mut self, stage: Stage, finding: impl Into<String>) {
        self.0.push(Step {
            stage,
            finding: finding.into(),
        });
    }
}

impl Facts {
    /// What becomes of the packet.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Explanation {
        let mut steps = Steps::default();
        let end = self.walk(question, &mut steps).unwrap_or_else(|end| end);
        Explanation {
            steps: steps.0,
            verdict: end.verdict,
            client_sees: end.sees,
            advice: end.advice,
        }
    }

    fn walk(&self, question: &Question, steps: &mut Steps) -> Result<End, End> {
        let case = self.device(question, steps)?;
        case.walk(steps).map_err(|end| match end.sees {
            Sees::Refused | Sees::Unreachable if !case.errors_arrive() => End {
                sees: Sees::Silence,
                ..end
            },
            _ => end,
        })
    }
}

impl Case<'_> {
    fn walk(&self, steps: &mut Steps) -> Result<End, End> {
        self.route(steps)?;
        let passage = self.gate(steps)?;
        let taken = self.socket(steps)?;
        if self.past_vrf().is_some() {
            return Err(self.answer_past_vrf(steps));
        }
        self.reply(taken.socket, passage.rule, steps)?;
        let advice = [passage.advice, taken.advice]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        Ok(End {
            verdict: Verdict::Served,
            sees: Sees::Answer,
            advice: if advice.is_empty() {
                "nothing to do".to_owned()
            } else {
                advice.join("; ")
            },
        })
    }
}
