//! `VrfGateNode`: what one node's gate shall hold, and what its agent says of it.
//!
//! The controller writes `spec`, with everything that takes a cluster to know already resolved; the agent
//! of that node alone writes `status`. People read both, and write neither.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    field::FieldError,
    types::{ReturnRouteSpec, RouteSpec, ServiceSpec, VrfLeak, VrfLeakSpec},
    validate::parse_resolved,
    words,
};
use vrfgate_core::{Leak, Mode, Protocol, Replies};

/// The desired state of one node: the leaks that apply to it, with references resolved.
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
    doc = "What the gate of one node shall hold, made by the controller of all VrfLeaks; and what that node's agent says of it.",
    printcolumn = r#"{"name":"LEAKS", "type":"integer", "jsonPath":".status.leaksWanted"}"#,
    printcolumn = r#"{"name":"READY", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"VERSION", "type":"string", "jsonPath":".status.agentVersion", "priority": 1}"#,
    printcolumn = r#"{"name":"AGE", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct VrfGateNodeSpec {
    /// The leaks that apply to the node, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // Written as a whole by one writer: the API server need not remember who owns which field of which leak,
    // which would take it longer than all the rest.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    // Many nodes have the same ones: who keeps them all can keep each once.
    pub leaks: Vec<Arc<GateLeak>>,
    /// Pods of the node that leaks apply to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["namespace", "name"]
    ))]
    pub pods: Vec<GatePod>,
    /// The leaks of those pods, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub pod_leaks: Vec<Arc<GateLeak>>,
}

/// A pod, and what its network namespace shall hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatePod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Names of leaks in `podLeaks`, the oldest first.
    pub leaks: Vec<String>,
}

/// A leak as one node has to put it into force.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateLeak {
    /// Name of the `VrfLeak`.
    pub name: String,
    /// The `metadata.generation` of the `VrfLeak` that this was made of.
    pub generation: i64,
    /// As in `VrfLeak`.
    pub vrf: String,
    /// As in `VrfLeak`.
    pub mode: String,
    /// As in `VrfLeak`.
    pub replies: String,
    /// As in `VrfLeak`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<GateRoute>,
    /// As in `VrfLeak`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub return_routes: Vec<GateReturnRoute>,
    /// As in `VrfLeak`. A `serviceRef` has become one service for each port it opens, all of one name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<GateService>,
}

/// A leak route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateRoute {
    /// As in `VrfLeak`.
    pub prefix: String,
    /// As in `VrfLeak`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// As in `VrfLeak`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<i64>,
}

/// A return route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateReturnRoute {
    /// As in `VrfLeak`.
    pub prefix: String,
    /// As in `VrfLeak`.
    pub source: String,
}

/// Ports opened on local addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateService {
    /// As in `VrfLeak`.
    pub name: String,
    /// As in `VrfLeak`.
    pub protocol: String,
    /// As in `VrfLeak`.
    pub port: i64,
    /// Last port, also of a single one.
    pub end_port: i64,
    /// As in `VrfLeak`. Never empty.
    pub addresses: Vec<String>,
    /// As in `VrfLeak`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// What the node's agent says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VrfGateNodeStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// How many leaks the node was asked to put into force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaks_wanted: Option<i64>,
    /// Every leak that the node holds anything of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub leaks: Vec<Arc<LeakOutcome>>,
    /// Pods of the node that hold a gate, or should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["namespace", "name"]
    ))]
    pub pods: Vec<PodOutcome>,
    /// Conditions, one of each type. `Ready`: the gate holds what `spec` asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// What has become of the leaks of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOutcome {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The leaks that apply to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub leaks: Vec<Arc<LeakOutcome>>,
    /// What a person should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What has become of one leak on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeakOutcome {
    /// Name of the `VrfLeak`.
    pub name: String,
    /// The `metadata.generation` of the `VrfLeak` that is in force, or was tried.
    pub generation: i64,
    /// What has become of it.
    pub state: NodeLeakState,
    /// Why it is not in force, in a word, such as `PortShared` or `NoRoom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a person should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What has become of a leak on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NodeLeakState {
    /// Its services are open.
    InForce,
    /// It waits for its VRF.
    Waiting,
    /// The node can't put it into force; what was in force before stays.
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
        let Self {
            name,
            generation: _,
            vrf,
            mode,
            replies,
            routes,
            return_routes,
            services,
        } = self.clone();
        let spec = VrfLeakSpec {
            vrf,
            node_selector: None,
            pods: None,
            mode,
            routes: routes
                .into_iter()
                .map(|route| RouteSpec {
                    prefix: route.prefix,
                    device: route.device,
                    metric: route.metric,
                })
                .collect(),
            replies,
            return_routes: return_routes
                .into_iter()
                .map(|route| ReturnRouteSpec {
                    prefix: route.prefix,
                    source: route.source,
                })
                .collect(),
            services: services
                .into_iter()
                .map(|service| ServiceSpec {
                    name: service.name,
                    protocol: Some(service.protocol),
                    port: Some(service.port),
                    end_port: Some(service.end_port),
                    addresses: service.addresses,
                    sources: service.sources,
                    service_ref: None,
                })
                .collect(),
        };
        parse_resolved(&VrfLeak::new(&name, spec))
    }
}
