//! `VrfLeak` as it is stored: the wire format of `vrfgate.dev/v1alpha1`.
//!
//! Everything here is as wide as JSON: strings and integers that may yet be nonsense. What they
//! mean is decided once, in [`validate`](super::validate), and nothing past it reads these types.
//! Unknown fields are not refused here but by the reader of files, so that a controller goes on
//! reading objects that a newer version wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits, rules, words};

/// Opens services of the main routing domain to the clients of one VRF, and nothing else to them.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vrfgate.dev",
    version = "v1alpha1",
    kind = "VrfLeak",
    plural = "vrfleaks",
    shortname = "vleak",
    category = "vrfgate",
    status = "VrfLeakStatus",
    derive = "PartialEq",
    doc = "Opens services of the main routing domain to the clients of one VRF, and nothing else to them.",
    printcolumn = r#"{"name":"VRF", "type":"string", "jsonPath":".spec.vrf"}"#,
    printcolumn = r#"{"name":"MODE", "type":"string", "jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"SERVICES", "type":"integer", "jsonPath":".status.services"}"#,
    printcolumn = r#"{"name":"NODES", "type":"string", "jsonPath":".status.nodes.summary"}"#,
    printcolumn = r#"{"name":"READY", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"AGE", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::spec()))]
pub struct VrfLeakSpec {
    /// Name of the VRF device, as `ip link show type vrf` prints it. At most 15 bytes. Where no
    /// such device exists yet, the leak waits for it. Can't be changed.
    #[schemars(with = "rules::VrfText")]
    pub vrf: String,

    /// The nodes that the leak applies to, by their labels. Without it: every Linux node.
    /// Not beside `pods`. Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::Selector>")]
    pub node_selector: Option<LabelSelector>,

    /// When given, the leak applies inside the network namespaces of the matching pods, instead of
    /// the node's own. Services then list their addresses, and nothing is routed: no `routes`, no
    /// `returnRoutes`, no `replies: Steer`. Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelection>,

    /// What happens to packets from the VRF that no service lets in. `Enforce` refuses them: the
    /// client sees a closed port. `Audit` lets them in, and counts what would have been refused.
    /// All leaks of a VRF must agree.
    #[serde(default = "enforce")]
    #[schemars(extend("enum" = [words::ENFORCE, words::AUDIT]))]
    pub mode: String,

    /// Leak routes, VRF to main: how packets from the VRF find local addresses of the main domain.
    /// Their prefixes are also the addresses of services that list none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ROUTES), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["prefix"]
    ))]
    pub routes: Vec<RouteSpec>,

    /// How replies of UDP servers return into the VRF. `Route`: by `returnRoutes`. `Steer`: by a
    /// mark on the connection, which also serves VRFs whose clients have the same addresses.
    /// TCP needs neither.
    #[serde(default = "route")]
    #[schemars(extend("enum" = [words::ROUTE, words::STEER]))]
    pub replies: String,

    /// Return routes, main to VRF, for UDP replies under `replies: Route`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ROUTES), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["prefix"]
    ))]
    pub return_routes: Vec<ReturnRouteSpec>,

    /// What is opened to clients of the VRF. With none, only listeners bound to the VRF itself can
    /// be reached from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::SERVICES), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub services: Vec<ServiceSpec>,
}

/// Pods that hold VRFs in their own network namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelection {
    /// The Kubernetes namespaces to look in, by their labels. Without it: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::Selector>")]
    pub namespace_selector: Option<LabelSelector>,
    /// The pods, by their labels. Without it: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::Selector>")]
    pub pod_selector: Option<LabelSelector>,
}

/// A leak route, VRF to main.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// Destination, such as `192.0.2.0/24`. Local addresses of the main domain inside it get
    /// `local` routes in the VRF's table.
    #[schemars(with = "rules::PrefixText")]
    pub prefix: String,
    /// Device that the rest of the prefix is routed out of; not `lo`. Without it, only the local
    /// addresses are routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::DeviceText>")]
    pub device: Option<String>,
    /// Metric of the routes made. Without it, or 0: the kernel's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub metric: Option<i64>,
}

/// A return route, main to VRF.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::return_route()))]
pub struct ReturnRouteSpec {
    /// The clients, such as `10.0.0.0/24`.
    #[schemars(with = "rules::PrefixText")]
    pub prefix: String,
    /// Local address that servers without one of their own choice answer from: the one that
    /// clients send to. The kernel takes it for IPv4 only; an IPv6 route goes without.
    #[schemars(with = "rules::SourceText")]
    pub source: String,
}

/// Ports opened on local addresses: given directly, or by a Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::service()))]
pub struct ServiceSpec {
    /// Name of the service within the leak, for status, metrics and `vrfgate explain`.
    #[schemars(with = "rules::LabelText")]
    pub name: String,
    /// Transport protocol. Required without `serviceRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [words::TCP, words::UDP]))]
    pub protocol: Option<String>,
    /// Local port. With `endPort`, the first of a range. Required without `serviceRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// Last port of the range, itself included. Every port is `port: 1, endPort: 65535`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<i64>,
    /// Local addresses inside these prefixes are opened. Without any: the prefixes of `routes`.
    /// Loopback and link-local addresses only by a prefix that lies wholly among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rules::PrefixText>", length(max = limits::ADDRESSES), extend("x-kubernetes-list-type" = "set"))]
    pub addresses: Vec<String>,
    /// Only clients inside these prefixes are let in. Without any: every client of the VRF. At least
    /// one is of the address family of an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rules::PrefixText>", length(max = limits::SOURCES), extend("x-kubernetes-list-type" = "set"))]
    pub sources: Vec<String>,
    /// Opens the endpoints of a Kubernetes Service that run in the node's own network namespace
    /// (hostNetwork), on their own addresses and ports. Instead of `protocol`, `port`, `endPort`
    /// and `addresses`. Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
}

/// A Kubernetes Service, and which of its ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Namespace of the Service.
    #[schemars(with = "rules::LabelText")]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(with = "rules::LabelText")]
    pub name: String,
    /// Names of the Service's ports. Without any: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rules::LabelText>", length(max = limits::SERVICE_REF_PORTS), extend("x-kubernetes-list-type" = "set"))]
    pub ports: Vec<String>,
}

/// What has become of a leak.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VrfLeakStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many services the leak lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<i64>,
    /// The nodes that the leak applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Conditions, one of each type. `Accepted`: the object makes sense, and no other is in its way.
    /// `Ready`: in force on every node that it applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// What has become of a leak on the nodes that it applies to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// `in force/selected`, for `kubectl get`.
    pub summary: String,
    /// Nodes that the leak applies to.
    pub selected: i64,
    /// Nodes on which it is in force as it stands.
    pub in_force: i64,
    /// Nodes on which it waits for its VRF.
    pub waiting: i64,
    /// Nodes that can't put it into force, or on which another leak is in its way.
    pub failed: i64,
    /// Nodes that have not yet told what has become of it.
    pub unreported: i64,
}

fn enforce() -> String {
    words::ENFORCE.to_owned()
}

fn route() -> String {
    words::ROUTE.to_owned()
}
