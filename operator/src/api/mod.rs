//! `VrfLeak`, the object that users write, and `VrfGateNode`, which the controller makes for each node: their types,
//! their CRDs, and their validation.
//!
//! Owns the wire format and everything that can be wrong with it. The result is a
//! [`Leak`](vrfgate_core::Leak), parsed and legal. Must not know of BPF, netlink or an API
//! server; files are read by the caller.
//!
//! # Versions
//!
//! `v1alpha1` is the only version, served and stored. How the next one comes: it is added to both CRDs as
//! served with `strategy: None`, which asks that both versions have the same fields, new ones optional; after
//! the controllers and agents of all clusters read it, it becomes the stored one, the objects are written once
//! more (`kubectl get vleak -o json | kubectl replace -f -`), and the old one leaves `status.storedVersions`
//! and the CRD. A field that has to change its meaning gets a new name instead, so that no conversion webhook
//! is ever in the way of a node. `VrfGateNode` is the controller's own: it is written anew by the first
//! controller that knows the new version, and agents ignore fields they don't know. So controllers are upgraded
//! before agents read what only they write, and agents before controllers rely on what only they report.

mod crd;
mod document;
mod field;
mod gate_node;
mod limits;
mod read;
mod rules;
mod shape;
mod types;
mod validate;
mod words;
mod yaml;

pub use crd::crd_yaml;
pub use field::{FieldError, FieldPath, Step};
pub use gate_node::{
    GateLeak, GatePod, GateReturnRoute, GateRoute, GateService, LeakOutcome, NodeLeakState,
    PodOutcome, VrfGateNode, VrfGateNodeSpec, VrfGateNodeStatus,
};
pub use read::{Place, ReadError, read_leaks};
pub use types::{
    NodeCounts, PodSelection, ReturnRouteSpec, RouteSpec, ServiceRef, ServiceSpec, VrfLeak,
    VrfLeakSpec, VrfLeakStatus,
};
pub use validate::{parse_cluster, parse_local};

#[cfg(test)]
mod tests;
