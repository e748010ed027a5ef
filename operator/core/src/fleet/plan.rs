//! One node's part.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
};

use super::{FleetLeak, FleetPod, PlannedPod, Reference, pods::plan_pods};
use crate::{Leak, LeakName, PortRange, Prefix, Protocol, Service, SetError, first_conflict};

/// The label by which the kubelet says what runs on a node.
const OS_LABEL: &str = "kubernetes.io/os";

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses inside the cluster: those that a hostNetwork pod has.
    pub addresses: BTreeSet<IpAddr>,
}

/// Which Kubernetes Service.
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

/// A port of a pod that serves a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The node it runs on.
    pub node: String,
    /// Its own address.
    pub address: IpAddr,
    /// Its own port.
    pub port: NonZeroU16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Name of the Service's port; empty for the only one of a Service.
    pub port_name: String,
}

/// What one node has to put into force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlan {
    /// Free of conflicts, in the order of the leaks given.
    pub leaks: Vec<PlacedLeak>,
    /// Pods of the node that leaks apply to, in order of their names.
    pub pods: Vec<PlannedPod>,
    /// The leaks of those pods, each once, in the order of the leaks given.
    pub pod_leaks: Vec<PlacedLeak>,
    /// Leaks that apply to the node, or a pod, but can't be put into force beside an earlier one.
    pub conflicts: Vec<Conflict>,
}

/// A leak on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedLeak {
    /// The leak, with its references resolved. The same one for all nodes that it means the same for.
    pub leak: Arc<Leak>,
    /// Number of the object's edition.
    pub generation: i64,
}

/// Two leaks that can't both be in force on a node; the earlier one is. Or two services of one leak, of which the
/// earlier one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// In force.
    pub earlier: LeakName,
    /// Left out.
    pub later: LeakName,
    /// Why.
    pub error: SetError,
}

/// Says of each node of a cluster what it has to put into force.
#[derive(Debug)]
pub struct Planner<'a> {
    leaks: &'a [FleetLeak],
    endpoints: &'a BTreeMap<ServiceKey, BTreeSet<Endpoint>>,
    /// Plans of nodes with nothing of their own, by the leaks that apply.
    alike: HashMap<Vec<usize>, Arc<NodePlan>>,
}

impl<'a> Planner<'a> {
    /// For a cluster with these leaks, and these endpoints of its Services.
    ///
    /// Of two leaks that conflict, the one that comes first is taken: give the oldest first, so that a new object
    /// never takes away what an old one gives.
    #[must_use]
    pub fn new(
        leaks: &'a [FleetLeak],
        endpoints: &'a BTreeMap<ServiceKey, BTreeSet<Endpoint>>,
    ) -> Self {
        Self {
            leaks,
            endpoints,
            alike: HashMap::new(),
        }
    }

    /// What `node`, with its `pods`, has to put into force. Nodes that have to do the same get the same plan.
    pub fn plan(&mut self, node: &FleetNode, pods: &[FleetPod]) -> Arc<NodePlan> {
        let numbered = self.leaks.iter().enumerate();
        let (numbers, leaks): (Vec<usize>, Vec<&FleetLeak>) =
            numbered.filter(|(_, leak)| applies(leak, node)).unzip();
        let alike = |leak: &&FleetLeak| leak.references.is_empty() && leak.pods.is_none();
        if leaks.iter().all(alike) {
            let plan = self.alike.entry(numbers);
            Arc::clone(plan.or_insert_with(|| plan_node(node, &[], &leaks, self.endpoints).into()))
        } else {
            plan_node(node, pods, &leaks, self.endpoints).into()
        }
    }
}

/// Of leaks that all apply.
fn plan_node(
    node: &FleetNode,
    pods: &[FleetPod],
    leaks: &[&FleetLeak],
    endpoints: &BTreeMap<ServiceKey, BTreeSet<Endpoint>>,
) -> NodePlan {
    let mut plan = NodePlan::default();
    let (for_pods, for_node): (Vec<&FleetLeak>, Vec<&FleetLeak>) =
        leaks.iter().partition(|leak| leak.pods.is_some());
    for candidate in for_node {
        let (leak, twice) = resolve(candidate, node, endpoints);
        let conflicts = conflicts(plan.leaks.iter().map(|placed| &*placed.leak), &leak);
        if conflicts.is_empty() {
            plan.conflicts.extend(twice);
            plan.leaks.push(PlacedLeak {
                leak,
                generation: candidate.generation,
            });
        } else {
            plan.conflicts.extend(conflicts);
        }
    }
    plan_pods(&mut plan, pods, &for_pods);
    plan
}

/// Nodes that don't say what they run are taken for what this is made for.
fn applies(leak: &FleetLeak, node: &FleetNode) -> bool {
    let linux = node.labels.get(OS_LABEL).is_none_or(|os| os == "linux");
    linux && leak.nodes.matches(&node.labels)
}

/// What keeps a leak from being in force beside each of those that are.
pub(super) fn conflicts<'a>(placed: impl Iterator<Item = &'a Leak>, later: &Leak) -> Vec<Conflict> {
    placed
        .filter_map(|earlier| {
            Some(Conflict {
                earlier: earlier.name.clone(),
                later: later.name.clone(),
                error: first_conflict(earlier, later)?,
            })
        })
        .collect()
}

/// The leak with what its references lead to, and what they lead to that the leak opens to other clients already.
fn resolve(
    leak: &FleetLeak,
    node: &FleetNode,
    endpoints: &BTreeMap<ServiceKey, BTreeSet<Endpoint>>,
) -> (Arc<Leak>, Vec<Conflict>) {
    let mut resolved = Arc::clone(&leak.leak);
    let mut twice = Vec::new();
    for reference in &leak.references {
        let endpoints = endpoints.get(&reference.service).into_iter().flatten();
        for endpoint in endpoints.filter(|endpoint| runs_in_host(endpoint, node)) {
            let Some(service) = open(reference, endpoint) else {
                continue;
            };
            // Two references may lead to one endpoint. What is open once needs no second rule, and can't have one.
            let mut services = resolved.services.iter();
            match services.find_map(|there| Some((there, there.overlap(&service)?))) {
                None => Arc::make_mut(&mut resolved).services.push(service),
                Some((there, overlap)) if there.sources != service.sources => {
                    twice.push(Conflict {
                        earlier: resolved.name.clone(),
                        later: resolved.name.clone(),
                        error: SetError::Service {
                            vrf: resolved.vrf.clone(),
                            earlier: resolved.name.clone(),
                            earlier_service: there.name.clone(),
                            later: resolved.name.clone(),
                            later_service: service.name,
                            overlap,
                        },
                    });
                }
                Some(_) => {}
            }
        }
    }
    (resolved, twice)
}

/// Whether the endpoint's socket is in the node's own network namespace. Any other pod has an address of
/// its own.
fn runs_in_host(endpoint: &Endpoint, node: &FleetNode) -> bool {
    endpoint.node == node.name && node.addresses.contains(&endpoint.address)
}

fn open(reference: &Reference, endpoint: &Endpoint) -> Option<Service> {
    let Reference {
        name,
        service: _,
        ports,
        sources,
    } = reference;
    if !ports.is_empty() && !ports.contains(&endpoint.port_name) {
        return None;
    }
    Some(Service {
        name: name.clone(),
        protocol: endpoint.protocol,
        ports: PortRange::new(endpoint.port, endpoint.port)?,
        addresses: vec![Prefix::host(endpoint.address)],
        sources: sources.clone(),
    })
}
