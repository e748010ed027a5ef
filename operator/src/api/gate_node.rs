//! `VrfGateNode`: the desired state of one node's gate, and the state that its agent reports.
//!
//! The controller writes `spec`, in which everything that only a cluster knows is resolved. Only the agent
//! of that node writes `status`. People read both, and write neither.
//!
//! The documentation of the fields is what `kubectl explain` shows.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrfgate_core::{Leak, Mode, Protocol, Replies};

use super::{field::FieldError, validate::parse_resolved, words};

/// Desired state of one node: the leaks that apply to it and to its pods. Written by the controller.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "vrfgate.dev",
    version = "v1alpha1",
    kind = "VrfGateNode",
    plural = "vrfgatenodes",
    shortname = "vgnode",
    category = "vrfgate",
    status = "VrfGateNodeStatus",
    derive = "PartialEq",
    doc = "State of one node: spec is what the controller wants the node to put into force, made from all VrfLeaks; status is what the node's agent reports. Not for editing.",
    printcolumn = r#"{"name":"LEAKS", "type":"integer", "jsonPath":".status.leaksWanted"}"#,
    printcolumn = r#"{"name":"READY", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"VERSION", "type":"string", "jsonPath":".status.agentVersion", "priority": 1}"#,
    printcolumn = r#"{"name":"AGE", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct VrfGateNodeSpec {
    /// Leaks that apply to the node itself, oldest first. Those that conflict with an older one are
    /// left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // One writer writes it as a whole: the API server need not track the owner of every field of every leak,
    // which would take it longer than all the rest.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    // Many nodes have the same leaks: the controller keeps each of them once.
    pub leaks: Vec<Arc<GateLeak>>,
    /// Pods on the node that leaks apply to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["namespace", "name"]
    ))]
    pub pods: Vec<GatePod>,
    /// Leaks that apply to those pods, each once, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub pod_leaks: Vec<Arc<GateLeak>>,
}

/// A pod, and the leaks to put into force in its network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatePod {
    /// Kubernetes namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// The `metadata.uid` of the pod.
    pub uid: String,
    /// Names of the pod's leaks, which `podLeaks` holds, oldest first.
    pub leaks: Vec<String>,
}

/// A leak as the node puts it into force: a `VrfLeak` with its references resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateLeak {
    /// Name of the `VrfLeak`.
    pub name: String,
    /// The `metadata.generation` of the `VrfLeak` that this was made from.
    pub generation: i64,
    /// Name of the VRF device, such as `BLUE`.
    pub vrf: String,
    /// What happens to packets from the VRF that no service admits. `Enforce`: they are refused.
    /// `Audit`: they are admitted, and counted.
    pub mode: String,
    /// How replies of UDP servers return into the VRF. `Route`: by `returnRoutes`. `Steer`: by a
    /// mark on the connection.
    pub replies: String,
    /// Leak routes, from the VRF to the main routing domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<GateRoute>,
    /// Return routes, from the main routing table to the VRF. Empty under `replies: Steer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub return_routes: Vec<GateReturnRoute>,
    /// What is opened to clients of the VRF. A `serviceRef` has become one service for each address
    /// and port that it opens on the node; all of them have its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<GateService>,
}

/// A leak route, from the VRF to the main routing domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateRoute {
    /// Destination, such as `192.0.2.0/24`. Each local address inside it gets a `local` route in
    /// the VRF's routing table.
    pub prefix: String,
    /// Device that the prefix as a whole is routed out of as well. Absent: only local addresses are
    /// routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Metric (priority) of the routes. Absent: the kernel's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<i64>,
}

/// A return route, from the main routing table to the VRF.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateReturnRoute {
    /// Destination of the replies: addresses of clients, such as `10.0.0.0/24`.
    pub prefix: String,
    /// Local address that a server answers from unless it chooses one itself. Applies to IPv4; an
    /// IPv6 route is made without it.
    pub source: String,
}

/// Ports to open on local addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateService {
    /// Name of the service within the leak. Services of one name are one rule, with one counter.
    pub name: String,
    /// Transport protocol, `TCP` or `UDP`.
    pub protocol: String,
    /// First port, 1 to 65535.
    pub port: i64,
    /// Last port, inclusive; equal to `port` for a single port.
    pub end_port: i64,
    /// Prefixes whose local addresses are opened. Never empty.
    pub addresses: Vec<String>,
    /// Prefixes of clients that may use the service. Empty: every client of the VRF.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// State of the node, reported by its agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VrfGateNodeStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the agent, such as `0.1.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Number of leaks that the node was asked to put into force, in its own namespace or in pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaks_wanted: Option<i64>,
    /// State of every leak that applies to the node or to a pod of it, and of those that it has not
    /// released yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub leaks: Vec<Arc<LeakOutcome>>,
    /// Pods on the node that have a gate, or should have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["namespace", "name"]
    ))]
    pub pods: Vec<PodOutcome>,
    /// Conditions, one of each type. `Ready`: no leak has failed; a leak that is pending because its VRF
    /// doesn't exist doesn't count. The message names the leaks that have failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// State of the leaks of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOutcome {
    /// Kubernetes namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// State of each leak that applies to the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub leaks: Vec<Arc<LeakOutcome>>,
    /// Messages for people, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// State of one leak on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeakOutcome {
    /// Name of the `VrfLeak`.
    pub name: String,
    /// The `metadata.generation` of the `VrfLeak` that this state is about; 0 for a leak that the node
    /// was not asked for, and has not released yet.
    pub generation: i64,
    /// `InForce`: its services are open. `Waiting`: the node has no such VRF. `Failed`: the node
    /// can't put it into force; an earlier generation may still be in force.
    pub state: NodeLeakState,
    /// Why it is not in force, as one word for programs: `NoSuchDevice`, `NotAVrf`, `TableUnknown`,
    /// `Conflict`, `NoRoom` or `PortShared`. Absent where the notes alone have the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Messages for people, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// State of a leak on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NodeLeakState {
    /// Its services are open.
    InForce,
    /// The node has no such VRF.
    Waiting,
    /// The node can't put it into force; an earlier generation may still be in force.
    Failed,
}

impl GateLeak {
    /// The wire form of `leak`.
    #[must_use]
    pub fn new(leak: &Leak, generation: i64) -> Self {
        let Leak {
            name,
            vrf,
            mode,
            routes,
            return_routes,
            replies,
            services,
        } = leak;
        Self {
            name: name.to_string(),
            generation,
            vrf: vrf.to_string(),
            mode: match mode {
                Mode::Enforce => words::ENFORCE,
                Mode::Audit => words::AUDIT,
            }
            .to_owned(),
            replies: match replies {
                Replies::Route => words::ROUTE,
                Replies::Steer => words::STEER,
            }
            .to_owned(),
            routes: routes
                .iter()
                .map(|route| GateRoute {
                    prefix: route.prefix.to_string(),
                    device: route.device.as_ref().map(ToString::to_string),
                    metric: route.metric.map(i64::from),
                })
                .collect(),
            return_routes: return_routes
                .iter()
                .map(|route| GateReturnRoute {
                    prefix: route.prefix.to_string(),
                    source: route.source.to_string(),
                })
                .collect(),
            services: services
                .iter()
                .map(|service| GateService {
                    name: service.name.to_string(),
                    protocol: match service.protocol {
                        Protocol::Tcp => words::TCP,
                        Protocol::Udp => words::UDP,
                    }
                    .to_owned(),
                    port: service.ports.first().into(),
                    end_port: service.ports.last().into(),
                    addresses: service.addresses.iter().map(ToString::to_string).collect(),
                    sources: service.sources.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        }
    }

    /// The leak that this is the wire form of.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, by the paths of a `VrfLeak`.
    pub fn parse(&self) -> Result<Leak, Vec<FieldError>> {
        parse_resolved(self)
    }
}
