//! A leak of a whole cluster.

use std::{fmt, sync::Arc};

use super::{PodSelector, Selector};
use crate::{Leak, Prefix, ServiceName};

/// A leak, the nodes it applies to, and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetLeak {
    /// What applies to every node alike. Its services are those given directly.
    pub leak: Arc<Leak>,
    /// The object's `metadata.generation`.
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

/// Namespace and name of a Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `web/frontend`
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
