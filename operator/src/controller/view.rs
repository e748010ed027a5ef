//! From Kubernetes' objects to the plain values that [`vrfgate_core`] takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    jiff::Timestamp,
};
use kube::ResourceExt as _;
use vrfgate_core::{Endpoint, FleetLeak, FleetNode, FleetPod, Protocol, ServiceKey};

use super::world::{Pods, World};
use crate::api::{VrfLeak, parse_cluster};

/// The label that ties an `EndpointSlice` to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The cluster at one moment.
pub struct View {
    /// The oldest first; of the same age, by name.
    pub leaks: Vec<ViewedLeak>,
    /// By name.
    pub nodes: BTreeMap<String, ViewedNode>,
    /// Pods that have a network namespace of their own, by node. Empty where no leak is for pods.
    pub pods: BTreeMap<String, Vec<FleetPod>>,
    /// By Service.
    pub endpoints: BTreeMap<ServiceKey, BTreeSet<Endpoint>>,
    /// Port names of each Service; the only port of a Service may have the empty name.
    pub services: BTreeMap<ServiceKey, BTreeSet<String>>,
}

/// A leak, and its parsed form.
pub struct ViewedLeak {
    pub object: Arc<VrfLeak>,
    /// Or one sentence for each mistake.
    pub parsed: Result<FleetLeak, Vec<String>>,
}

/// A node, and its UID, which tells it from earlier nodes of the name.
pub struct ViewedNode {
    pub node: FleetNode,
    pub uid: String,
}

impl View {
    pub fn new(world: &World) -> Self {
        let mut leaks: Vec<ViewedLeak> = world.leaks.state().into_iter().map(view_leak).collect();
        leaks.sort_by_key(|leak| age(&leak.object));
        let nodes = world.nodes.state();
        let services = world.services.state();
        let mut endpoints: BTreeMap<ServiceKey, BTreeSet<Endpoint>> = BTreeMap::new();
        for slice in world.slices.state() {
            if let Some(key) = slice_of(&slice) {
                endpoints.entry(key).or_default().extend(view_slice(&slice));
            }
        }
        Self {
            leaks,
            nodes: nodes.iter().map(|node| view_node(node)).collect(),
            pods: world.pods().map(view_pods).unwrap_or_default(),
            endpoints,
            services: services
                .iter()
                .map(|service| view_service(service))
                .collect(),
        }
    }
}

fn view_leak(object: Arc<VrfLeak>) -> ViewedLeak {
    let parsed = parse_cluster(&object).map_err(|errors| {
        let errors = errors.into_iter();
        errors.map(|error| error.to_string()).collect()
    });
    ViewedLeak { object, parsed }
}

fn age(leak: &VrfLeak) -> (Option<Timestamp>, String) {
    (
        leak.creation_timestamp().map(|time| time.0),
        leak.name_any(),
    )
}

fn view_node(node: &Node) -> (String, ViewedNode) {
    let addresses = node.status.iter().flat_map(|status| &status.addresses);
    let viewed = FleetNode {
        name: node.name_any(),
        labels: node.labels().clone(),
        addresses: addresses
            .flatten()
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
    };
    let viewed = ViewedNode {
        node: viewed,
        uid: node.uid().unwrap_or_default(),
    };
    (node.name_any(), viewed)
}

fn view_pods(pods: &Pods) -> BTreeMap<String, Vec<FleetPod>> {
    let namespaces = pods.namespaces.state();
    let namespaces: BTreeMap<String, &BTreeMap<String, String>> = namespaces
        .iter()
        .map(|namespace| (namespace.name_any(), namespace.labels()))
        .collect();
    let mut by_node: BTreeMap<String, Vec<FleetPod>> = BTreeMap::new();
    for pod in pods.pods.state() {
        let Some(node) = node_of(&pod) else { continue };
        let namespace = pod.namespace().unwrap_or_default();
        let labels = namespaces.get(&namespace);
        by_node.entry(node).or_default().push(FleetPod {
            namespace_labels: labels.map(|labels| (*labels).clone()).unwrap_or_default(),
            namespace,
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            labels: pod.labels().clone(),
        });
    }
    for pods in by_node.values_mut() {
        pods.sort_unstable();
    }
    by_node
}

/// The node that a pod's network namespace is on, while it has one of its own.
fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let has_own = spec.host_network != Some(true) && !matches!(phase, Some("Succeeded" | "Failed"));
    spec.node_name.clone().filter(|_| has_own)
}

fn view_service(service: &Service) -> (ServiceKey, BTreeSet<String>) {
    let key = ServiceKey {
        namespace: service.namespace().unwrap_or_default(),
        name: service.name_any(),
    };
    let ports = service.spec.iter().flat_map(|spec| &spec.ports).flatten();
    let names = ports.map(|port| port.name.clone().unwrap_or_default());
    (key, names.collect())
}

fn slice_of(slice: &EndpointSlice) -> Option<ServiceKey> {
    Some(ServiceKey {
        namespace: slice.namespace()?,
        name: slice.labels().get(SERVICE_LABEL)?.clone(),
    })
}

/// Takes endpoints in any state: one that isn't ready doesn't listen, and one that is terminating may still serve.
fn view_slice(slice: &EndpointSlice) -> impl Iterator<Item = Endpoint> {
    let ports: Vec<(String, Protocol, NonZeroU16)> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some(_) => return None,
            };
            let number = NonZeroU16::new(u16::try_from(port.port?).ok()?)?;
            Some((port.name.clone().unwrap_or_default(), protocol, number))
        })
        .collect();
    let endpoints = slice.endpoints.iter().flatten();
    let placed = endpoints.filter_map(|endpoint| Some((endpoint.node_name.clone()?, endpoint)));
    placed.flat_map(move |(node, endpoint)| {
        let addresses = endpoint.addresses.iter();
        let addresses: Vec<_> = addresses.filter_map(|text| text.parse().ok()).collect();
        let ports = ports.clone();
        addresses.into_iter().flat_map(move |address| {
            let node = node.clone();
            ports
                .clone()
                .into_iter()
                .map(move |(port_name, protocol, port)| Endpoint {
                    node: node.clone(),
                    address,
                    port,
                    protocol,
                    port_name,
                })
        })
    })
}
