//! `VrfLeak` as it is stored: the wire format of `vrfgate.dev/v1alpha1`.
//!
//! Everything here is as wide as JSON: strings and integers that may yet be nonsense.
//! [`validate`](super::validate) decides once what they mean, and nothing past it reads these types.
//! The reader of files refuses unknown fields; these types ignore them, so that a controller can
//! read objects that a newer version wrote.
//!
//! The documentation of the fields is what `kubectl explain` shows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{limits, rules, words};

/// Opens services of the host, or of pods, to the clients of one VRF, and closes everything else to them.
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
    doc = "Opens services of the host, or of pods, to the clients of one VRF, and closes everything else to them.",
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
    /// Name of the VRF device, as `ip link show type vrf` prints it, such as `BLUE`. At most 15
    /// bytes. While there is no such device, the leak is pending. Can't be changed.
    #[schemars(with = "rules::VrfText")]
    pub vrf: String,

    /// Selects by label the nodes that the leak applies to. Default: every Linux node.
    /// Must not be combined with `pods`. Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::Selector>")]
    pub node_selector: Option<LabelSelector>,

    /// Applies the leak inside the network namespaces of the selected pods, instead of those of
    /// the nodes. Every service then lists its addresses, and nothing is routed: `routes`,
    /// `returnRoutes`, `replies: Steer` and `serviceRef` are refused. Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelection>,

    /// What happens to packets from the VRF that no service admits. `Enforce` (default) refuses
    /// them: the client sees a closed port. `Audit` admits them, and counts what would have been
    /// refused. All leaks of a VRF must have the same mode.
    #[serde(default = "enforce")]
    #[schemars(extend("enum" = [words::ENFORCE, words::AUDIT]))]
    pub mode: String,

    /// Leak routes, from the VRF to the main routing domain, by which packets from the VRF reach
    /// local addresses. Services that list no addresses use these prefixes. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ROUTES), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["prefix"]
    ))]
    pub routes: Vec<RouteSpec>,

    /// How replies of UDP servers return into the VRF. `Route` (default): by `returnRoutes`.
    /// `Steer`: by a mark on the connection, which also works when clients of several VRFs have
    /// the same addresses. TCP needs neither.
    #[serde(default = "route")]
    #[schemars(extend("enum" = [words::ROUTE, words::STEER]))]
    pub replies: String,

    /// Return routes, from the main routing table to the VRF, for UDP replies. Only with
    /// `replies: Route`. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::ROUTES), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["prefix"]
    ))]
    pub return_routes: Vec<ReturnRouteSpec>,

    /// What is opened to clients of the VRF. Without any service, only listeners that are bound to
    /// the VRF can be reached from it. At most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::SERVICES), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub services: Vec<ServiceSpec>,
}

/// Selects pods that have VRFs in their own network namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelection {
    /// Selects Kubernetes namespaces by their labels. Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::Selector>")]
    pub namespace_selector: Option<LabelSelector>,
    /// Selects pods in those namespaces by their labels. Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::Selector>")]
    pub pod_selector: Option<LabelSelector>,
}

/// A leak route, from the VRF to the main routing domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// Destination, such as `192.0.2.0/24`. Each local address inside it gets a `local` route in
    /// the VRF's routing table.
    #[schemars(with = "rules::PrefixText")]
    pub prefix: String,
    /// Device, such as `eth0`, that the prefix as a whole is routed out of as well; not `lo`.
    /// Default: only local addresses are routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<rules::DeviceText>")]
    pub device: Option<String>,
    /// Metric (priority) of the routes; the kernel prefers lower ones. Default, and the meaning of
    /// 0: the kernel's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub metric: Option<i64>,
}

/// A return route, from the main routing table to the VRF.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::return_route()))]
pub struct ReturnRouteSpec {
    /// Destination of the replies: addresses of clients, such as `10.0.0.0/24`.
    #[schemars(with = "rules::PrefixText")]
    pub prefix: String,
    /// Local address that a server answers from unless it chooses one itself: the address that
    /// clients send to, such as `192.0.2.1`. Applies to IPv4; an IPv6 route is made without it.
    #[schemars(with = "rules::SourceText")]
    pub source: String,
}

/// Ports to open on local addresses, listed here or taken from a Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::service()))]
pub struct ServiceSpec {
    /// Name of the service, unique within the leak, such as `ssh`. It appears in status, metrics
    /// and the output of `vrfgate explain`.
    #[schemars(with = "rules::LabelText")]
    pub name: String,
    /// Transport protocol, `TCP` or `UDP`. Required without `serviceRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [words::TCP, words::UDP]))]
    pub protocol: Option<String>,
    /// Local port, such as 22; with `endPort`, the first port of a range. Required without
    /// `serviceRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// Last port of the range, inclusive. Default: `port`. Write `port: 1, endPort: 65535` for
    /// every port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<i64>,
    /// Prefixes, such as `192.0.2.1/32`, whose local addresses are opened. Default: the prefixes
    /// of `routes`. Loopback and link-local addresses are opened only by a prefix that contains
    /// nothing else. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rules::PrefixText>", length(max = limits::ADDRESSES), extend("x-kubernetes-list-type" = "set"))]
    pub addresses: Vec<String>,
    /// Prefixes of clients that may use the service, such as `10.0.0.0/8`. Default: every client of
    /// the VRF. At least one must be of the same address family as an address of the service. At
    /// most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rules::PrefixText>", length(max = limits::SOURCES), extend("x-kubernetes-list-type" = "set"))]
    pub sources: Vec<String>,
    /// Opens the endpoints of a Kubernetes Service that run in the node's network namespace
    /// (hostNetwork), by their own addresses and ports. Replaces `protocol`, `port`, `endPort` and
    /// `addresses`. Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
}

/// A Kubernetes Service, and the ports of it to open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Kubernetes namespace of the Service.
    #[schemars(with = "rules::LabelText")]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(with = "rules::LabelText")]
    pub name: String,
    /// Names of the Service's ports to open, such as `https`. Default: all of them. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rules::LabelText>", length(max = limits::SERVICE_REF_PORTS), extend("x-kubernetes-list-type" = "set"))]
    pub ports: Vec<String>,
}

/// State of a leak in the cluster, reported by the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VrfLeakStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of services that the leak lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<i64>,
    /// State of the leak on the nodes that it applies to, as numbers of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Conditions, one of each type. `Accepted`: the object is valid. `Conflicted`: on some node,
    /// it conflicts with another leak; the older one stays. `ReferencesResolved`, only
    /// with `serviceRef`: every Service and port that it names exists. `Ready`: the current
    /// generation is in force on every node that the leak applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// State of a leak on the nodes that it applies to, as numbers of nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// `inForce/selected`, such as `3/4`, for `kubectl get`.
    pub summary: String,
    /// Number of nodes that the leak applies to.
    pub selected: i64,
    /// Number of nodes on which its current generation is in force.
    pub in_force: i64,
    /// Number of nodes on which it is pending, because they have no such VRF.
    pub waiting: i64,
    /// Number of nodes that can't put it into force, or on which it conflicts with an older leak.
    pub failed: i64,
    /// Number of nodes that have not reported on its current generation yet.
    pub unreported: i64,
}

fn enforce() -> String {
    words::ENFORCE.to_owned()
}

fn route() -> String {
    words::ROUTE.to_owned()
}
