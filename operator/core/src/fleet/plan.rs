//! One node's part.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
};

use super::{
    Conflict, FleetLeak, FleetPod, PlacedLeak, PlannedPod, Reference, ServiceKey,
    placed::conflicts,
    pods::{PodPlan, plan_pods},
};
use crate::{Leak, PortRange, Prefix, Protocol, Service, SetError};

/// The label by which the kubelet reports the operating system of a node.
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

/// Makes the plan of each node of a cluster.
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
    let PodPlan {
        pods,
        leaks,
        conflicts,
    } = plan_pods(pods, &for_pods);
    plan.pods = pods;
    plan.pod_leaks = leaks;
    plan.conflicts.extend(conflicts);
    plan
}

/// A node without the label is taken for a Linux node.
fn applies(leak: &FleetLeak, node: &FleetNode) -> bool {
    let linux = node.labels.get(OS_LABEL).is_none_or(|os| os == "linux");
    linux && leak.nodes.matches(&node.labels)
}

/// The leak with its references resolved; and the endpoints that the leak already opens to other clients.
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
