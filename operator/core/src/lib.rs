//! The heart of vrfgate: from leaks and the facts of one namespace to what its gate shall hold.
//!
//! Plain values in, plain values out. Nothing here does I/O, reads a clock, or knows YAML,
//! Kubernetes or BPF: what arrives has been parsed at the edge, and cannot be ill-formed.

mod attachments;
mod decide;
mod desired;
mod facts;
mod fleet;
mod leak;
mod names;
mod net;
mod overlap;
mod record;
mod routes;
mod ruled;
mod rules;
mod services;
mod set;
mod sockets;
mod steer;

pub use attachments::{Contradiction, Opened, contradiction, leaks_of, left_out, opened};
pub use decide::{Decision, InForce, Packet, PassReason, RefuseReason};
pub use desired::{Desired, GatedVrf, OpenService, Waiting, WaitingReason, compile};
pub use facts::{Link, LinkKind, LocalAddress, LocalPrefix, NodeFacts};
pub use fleet::{
    Conflict, Endpoint, FleetLeak, FleetNode, FleetPod, NodePlan, PlacedLeak, PlannedPod, Planner,
    PodSelector, Reference, Requirement, Selector, ServiceKey,
};
pub use leak::{Leak, Mode, Overlap, Replies, ReturnRoute, Route, Service, any_client};
pub use names::is_subdomain;
pub use names::{DeviceName, LeakName, NameError, ServiceName, VrfName};
pub use net::{PortRange, Prefix, PrefixError, Protocol};
pub use record::{Attachment, Key, NetnsId, NetnsPlace, Pod};
pub use routes::{RouteKey, UnmadeRoute, WantedRoute, Way};
pub use rules::{Opening, Posture, Rule, RuleError, RuleSet, Vrf};
pub use services::{ServiceWords, services};
pub use set::{SetError, check_set, first_conflict};
pub use sockets::OpenSocket;
pub use steer::{MarkMask, MarkedVrf, MaskError, SteeredVrf, Steering, is_zone};

#[cfg(test)]
mod tests;
