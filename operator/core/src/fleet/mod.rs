//! The leaks of a whole cluster, and which part of them each node has to put into force.
//!
//! As pure as the rest of the crate: nodes and endpoints come in as plain values.

mod leak;
mod placed;
mod plan;
mod pods;
mod selector;

pub use leak::{FleetLeak, Reference, ServiceKey};
pub use placed::{Conflict, PlacedLeak};
pub use plan::{Endpoint, FleetNode, NodePlan, Planner};
pub use pods::{FleetPod, PlannedPod};
pub use selector::{PodSelector, Requirement, Selector};
