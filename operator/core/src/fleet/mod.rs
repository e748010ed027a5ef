//! The leaks of a whole cluster, and which part of them each node has to put into force.
//!
//! As pure as the rest of the crate: nodes and endpoints come in as plain values.

mod plan;
mod pods;
mod selector;

pub use plan::{Conflict, Endpoint, FleetNode, NodePlan, PlacedLeak, Planner, ServiceKey};
pub use pods::{FleetPod, PlannedPod, PodSelector};
pub use selector::{Requirement, Selector};

use std::sync::Arc;

use super::{Leak, Prefix, ServiceName};

/// A leak, the nodes it applies to, and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetLeak {
    /// What applies to every node alike. Its services are those given directly.
    pub leak: Arc<Leak>,
    /// Number of the object's edition.
    pub generation: i64,
    /// Which nodes.
    pub nodes: Selector,
    /// Which pods on those nodes; `None` for the nodes themselves.
    pub pods: Option<PodSelector>,
    /// Services that each node opens where it runs them.
    pub references: Vec<Reference>,
}

/// A Kubernetes Service whose endpoints are opened on the nodes that run them in their own network
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Name within the leak.
    pub name: ServiceName,
    /// The Service.
    pub service: ServiceKey,
    /// Names of its ports; empty means all.
    pub ports: Vec<String>,
    /// Clients inside these are let in; empty means every client of the VRF.
    pub sources: Vec<Prefix>,
}
