//! From the wire format to the domain, once: a [`Leak`] exists only if all of it was legal.
//!
//! Every mistake is collected, each with the path of its field. One pass over the object both
//! checks and converts, so that there is no way to do the second without the first.

mod errors;
mod resolved;
mod routes;
mod selector;
mod services;

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use vrfgate_core::{FleetLeak, Leak, LeakName, PodSelector, Replies, ReturnRoute, VrfName};

pub(super) use self::resolved::parse_resolved;

use self::{errors::Errors, services::Defaults};
use super::{
    field::{FieldError, FieldPath},
    types::{PodSelection, VrfLeak, VrfLeakSpec},
    words,
};

/// The device that every namespace has, and that is in no VRF.
const LOOPBACK: &str = "lo";

/// Where an object was found, which decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A file of a machine without Kubernetes.
    Machine,
    /// A cluster.
    Cluster,
}

/// Parses a leak for a machine without Kubernetes.
///
/// Fields that only a cluster can give a meaning to are refused, because ignoring them would open
/// services in other places than the author meant.
///
/// # Errors
///
/// Everything that is wrong with the object.
pub fn parse_local(leak: &VrfLeak) -> Result<Leak, Vec<FieldError>> {
    parse(leak, Place::Machine).map(|parsed| Arc::unwrap_or_clone(parsed.leak))
}

/// Parses a leak of a cluster.
///
/// # Errors
///
/// Everything that is wrong with the object, most of which the API server has refused already.
pub fn parse_cluster(leak: &VrfLeak) -> Result<FleetLeak, Vec<FieldError>> {
    parse(leak, Place::Cluster)
}

fn parse(leak: &VrfLeak, place: Place) -> Result<FleetLeak, Vec<FieldError>> {
    let VrfLeakSpec {
        vrf,
        node_selector,
        pods,
        mode,
        routes,
        replies,
        return_routes,
        services,
    } = &leak.spec;
    let mut errors = Errors::default();
    let spec = FieldPath::root().field("spec");

    let name = parse_name(leak.metadata.name.as_deref(), &mut errors);
    let vrf_name = errors.keep(&spec.field("vrf"), VrfName::from_str(vrf));
    if vrf == LOOPBACK {
        errors.add(
            &spec.field("vrf"),
            "lo is the loopback device, and never a VRF",
        );
    }
    if place == Place::Machine {
        refuse_cluster_placement(&spec, node_selector.as_ref(), pods.as_ref(), &mut errors);
    }
    let nodes = selector::parse(
        &spec.field("nodeSelector"),
        node_selector.as_ref(),
        &mut errors,
    );
    let pod_selector = parse_pods(&spec.field("pods"), pods.as_ref(), &mut errors);
    let mode = errors.keep(&spec.field("mode"), words::parse(mode, &words::MODES));
    let leak_routes = routes::parse_routes(&spec, vrf, routes, &mut errors);
    let replies = errors.keep(
        &spec.field("replies"),
        words::parse(replies, &words::REPLIES),
    );
    let return_routes = routes::parse_return_routes(&spec, return_routes, &mut errors);
    check_replies(&spec, replies, &return_routes, &mut errors);
    let defaults = Defaults::new(!routes.is_empty(), &leak_routes);
    let services = services::parse_services(&spec, services, &defaults, place, &mut errors);

    if place == Place::Cluster && pods.is_some() {
        refuse_beside_pods(
            &spec,
            &leak.spec,
            !services.references.is_empty(),
            &mut errors,
        );
    }

    let parsed = || {
        Some(FleetLeak {
            leak: Arc::new(Leak {
                name: name?,
                vrf: vrf_name?,
                mode: mode?,
                routes: leak_routes,
                return_routes,
                replies: replies?,
                services: services.direct,
            }),
            generation: leak.metadata.generation.unwrap_or_default(),
            nodes: nodes?,
            pods: pod_selector?,
            references: services.references,
        })
    };
    errors.finish(parsed())
}

/// `Some(None)` for a leak of nodes.
#[expect(
    clippy::option_option,
    reason = "outside: whether it is legal; inside: whether it is there"
)]
fn parse_pods(
    path: &FieldPath,
    pods: Option<&PodSelection>,
    errors: &mut Errors,
) -> Option<Option<PodSelector>> {
    let Some(PodSelection {
        namespace_selector,
        pod_selector,
    }) = pods
    else {
        return Some(None);
    };
    let namespaces = selector::parse(
        &path.field("namespaceSelector"),
        namespace_selector.as_ref(),
        errors,
    );
    let pods = selector::parse(&path.field("podSelector"), pod_selector.as_ref(), errors);
    Some(Some(PodSelector {
        namespaces: namespaces?,
        pods: pods?,
    }))
}

fn parse_name(name: Option<&str>, errors: &mut Errors) -> Option<LeakName> {
    let path = FieldPath::root().field("metadata").field("name");
    match name {
        Some(name) => errors.keep(&path, LeakName::from_str(name)),
        None => errors.refuse(&path, "is required"),
    }
}

fn check_replies(
    spec: &FieldPath,
    replies: Option<Replies>,
    return_routes: &[ReturnRoute],
    errors: &mut Errors,
) {
    if replies == Some(Replies::Steer) && !return_routes.is_empty() {
        errors.add(
            &spec.field("returnRoutes"),
            "are of no use with replies: Steer; remove them, or write replies: Route",
        );
    }
}

fn refuse_cluster_placement(
    spec: &FieldPath,
    node_selector: Option<&LabelSelector>,
    pods: Option<&PodSelection>,
    errors: &mut Errors,
) {
    // Selecting every node loses nothing without a cluster: this machine is one of them.
    if node_selector.is_some_and(|selector| !selects_all(selector)) {
        errors.add(
            &spec.field("nodeSelector"),
            "selects by the labels of Kubernetes nodes, and a machine without Kubernetes has none; remove it",
        );
    }
    if pods.is_some() {
        errors.add(
            &spec.field("pods"),
            "needs Kubernetes; without it, name the network namespace with --netns",
        );
    }
}

/// Refuses fields that are about a node or its routes.
fn refuse_beside_pods(
    path: &FieldPath,
    spec: &VrfLeakSpec,
    any_reference: bool,
    errors: &mut Errors,
) {
    let beside = [
        (
            "nodeSelector",
            spec.node_selector.is_some(),
            "must not stand beside pods: the pods that it selects may be on any node",
        ),
        (
            "routes",
            !spec.routes.is_empty(),
            "must not stand beside pods, where nothing is routed: give each service its addresses",
        ),
        (
            "returnRoutes",
            !spec.return_routes.is_empty(),
            "must not stand beside pods, where nothing is routed",
        ),
        (
            "replies",
            spec.replies == words::STEER,
            "Steer must not stand beside pods, where nothing is routed",
        ),
        (
            "services",
            any_reference,
            "serviceRef stands for ports of the node itself, and pods have their own: list port and protocol",
        ),
    ];
    for (field, _, why) in beside.into_iter().filter(|(_, given, _)| *given) {
        errors.add(&path.field(field), why);
    }
}

fn selects_all(selector: &LabelSelector) -> bool {
    let LabelSelector {
        match_expressions,
        match_labels,
    } = selector;
    match_expressions.as_ref().is_none_or(Vec::is_empty)
        && match_labels.as_ref().is_none_or(BTreeMap::is_empty)
}
