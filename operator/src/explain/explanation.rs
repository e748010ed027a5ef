//! What `vrfgate explain` answers. Plain values; knows nothing of how they are found.

use serde::Serialize;

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The stages that the packet passed, in order, up to the one that stopped it.
    pub steps: Vec<Step>,
    /// How it ends.
    pub verdict: Verdict,
    /// What the client sees.
    pub client_sees: Sees,
    /// What to do.
    pub advice: String,
}

/// One stage and its finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// What was found there.
    pub finding: String,
}

/// The stages of a packet's way, in order.
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
    /// The reply.
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
    /// A route or a policy rule rejects or drops it.
    Unreachable,
    /// The reverse path filter drops it.
    ReversePath,
    /// No client can have this source address here.
    ImpossibleSource,
    /// An address of this host, but the route sends the packet elsewhere instead of delivering it.
    NotDelivered,
    /// No address of this host.
    Forwarded,
    /// Broadcast, anycast and others.
    NotUnicast,
    /// No rule of the gate lists it.
    NotListed,
    /// A rule lists it, but for other clients.
    SourceNotAllowed,
    /// No leak names the VRF.
    VrfNotNamed,
    /// Only unbound sockets would take it, and there is no gate that opens them.
    NoGate,
    /// Only unbound sockets would take it, and the sysctl is 0 although there is a gate.
    SysctlClosed,
    /// Nothing listens on the port.
    NoListener,
    /// The listener is bound to the loopback address.
    ListenerOnLoopback,
    /// The listener is bound to another address.
    ListenerOnOtherAddress,
    /// The listener is bound to another VRF or device.
    ListenerOnOtherDevice,
    /// The reply doesn't reach the client.
    ReplyLost,
    /// The reply comes from another address than the client asked.
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
    /// Another host or VRF decides.
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
