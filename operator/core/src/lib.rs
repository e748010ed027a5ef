//! The heart of vrfgate: from leaks and the facts of one namespace to what its gate shall hold.
//!
//! Plain values in, plain values out. Nothing here does I/O, reads a clock, or knows YAML,
//! Kubernetes or BPF: what arrives has been parsed at the edge, and cannot be ill-formed.

mod decide;
mod desired;
mod facts;
mod fleet;
mod leak;
mod names;
mod net;
mod routes;
mod set;
mod steer;

pub use decide::{Packet, PassReason, RefuseReason, Verdict};
pub use desired::{Desired, GatedVrf, OpenService, Waiting, WaitingReason, compile};
pub use facts::{Link, LinkKind, LocalAddress, LocalPrefix, NodeFacts};
pub use fleet::{
    Conflict, Endpoint, FleetLeak, FleetNode, FleetPod, NodePlan, PlacedLeak, PlannedPod, Planner,
    PodSelector, Reference, Requirement, Selector, ServiceKey,
};
pub use leak::{Leak, Mode, Overlap, Replies, ReturnRoute, Route, Service};
pub use names::is_subdomain;
pub use names::{DeviceName, LeakName, NameError, ServiceName, VrfName};
pub use net::{PortRange, Prefix, PrefixError, Protocol};
pub use routes::{RouteKey, UnmadeRoute, WantedRoute, Way};
pub use set::{SetError, check_set, first_conflict};
pub use steer::{MarkMask, MarkedVrf, MaskError, SteeredVrf, Steering, is_zone};

#[cfg(test)]
mod tests;
