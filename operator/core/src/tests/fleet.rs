//! Which part of a cluster's leaks each node has to put into force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{ip, leak, tcp};
use crate::{
    Endpoint, FleetLeak, FleetNode, FleetPod, Leak, Mode, NodePlan, PlannedPod, Planner,
    PodSelector, Protocol, Reference, Requirement, Selector, ServiceKey, SetError,
};

fn node(name: &str, labels: &[(&str, &str)], addresses: &[&str]) -> FleetNode {
    let labels = labels.iter();
    FleetNode {
        name: name.to_owned(),
        labels: labels
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
    }
}

fn plan_node(
    node: &FleetNode,
    pods: &[FleetPod],
    leaks: &[FleetLeak],
    endpoints: &BTreeMap<ServiceKey, BTreeSet<Endpoint>>,
) -> NodePlan {
    let plan = Planner::new(leaks, endpoints).plan(node, pods);
    NodePlan::clone(&plan)
}

fn everywhere(leak: Leak) -> FleetLeak {
    FleetLeak {
        leak: leak.into(),
        generation: 1,
        nodes: Selector::default(),
        pods: None,
        references: Vec::new(),
    }
}

fn frontend() -> ServiceKey {
    ServiceKey {
        namespace: "web".to_owned(),
        name: "frontend".to_owned(),
    }
}

fn endpoint(node: &str, address: &str, port: u16, port_name: &str) -> Endpoint {
    Endpoint {
        node: node.to_owned(),
        address: ip(address),
        port: port.try_into().unwrap(),
        protocol: Protocol::Tcp,
        port_name: port_name.to_owned(),
    }
}

/// The services that a reference to `ports` of the Service opens on `node`.
fn opened(node: &FleetNode, ports: &[&str], endpoints: &[Endpoint]) -> Vec<String> {
    let mut leak = everywhere(leak("web", "BLUE"));
    leak.references.push(Reference {
        name: "web".parse().unwrap(),
        service: frontend(),
        ports: ports.iter().map(|port| (*port).to_owned()).collect(),
        sources: Vec::new(),
    });
    let endpoints: BTreeSet<Endpoint> = endpoints.iter().cloned().collect();
    let plan = plan_node(
        node,
        &[],
        &[leak],
        &BTreeMap::from([(frontend(), endpoints)]),
    );
    let services = plan.leaks[0].leak.services.iter();
    services
        .map(|service| format!("{} {}", service.addresses[0], service.ports))
        .collect()
}

#[test]
fn selectors_mean_what_kubernetes_means_by_them() {
    let edge = node("n", &[("role", "edge")], &[]);
    let key = || "role".to_owned();
    let zone = || "zone".to_owned();
    for (requirement, selected) in [
        (
            Requirement::In(key(), vec!["core".to_owned(), "edge".to_owned()]),
            true,
        ),
        (Requirement::In(key(), vec!["core".to_owned()]), false),
        (Requirement::In(zone(), vec!["a".to_owned()]), false),
        (Requirement::NotIn(key(), vec!["edge".to_owned()]), false),
        (Requirement::NotIn(zone(), vec!["a".to_owned()]), true),
        (Requirement::Exists(key()), true),
        (Requirement::Exists(zone()), false),
        (Requirement::DoesNotExist(key()), false),
        (Requirement::DoesNotExist(zone()), true),
    ] {
        let mut leak = everywhere(leak("a", "BLUE"));
        leak.nodes = Selector(vec![requirement.clone()]);
        let plan = plan_node(&edge, &[], &[leak], &BTreeMap::new());
        assert_eq!(!plan.leaks.is_empty(), selected, "{requirement:?}");
    }
}

#[test]
fn all_requirements_must_hold() {
    let mut leak = everywhere(leak("a", "BLUE"));
    leak.nodes = Selector(vec![
        Requirement::Exists("role".to_owned()),
        Requirement::Exists("zone".to_owned()),
    ]);
    let edge = node("n", &[("role", "edge")], &[]);
    assert!(
        plan_node(&edge, &[], &[leak], &BTreeMap::new())
            .leaks
            .is_empty()
    );
}

#[test]
fn only_linux_nodes_and_those_that_do_not_say_are_asked() {
    let leaks = [everywhere(leak("a", "BLUE"))];
    for (labels, asked) in [
        (&[("kubernetes.io/os", "linux")][..], 1),
        (&[("kubernetes.io/os", "windows")], 0),
        (&[], 1),
    ] {
        let plan = plan_node(&node("n", labels, &[]), &[], &leaks, &BTreeMap::new());
        assert_eq!(plan.leaks.len(), asked, "{labels:?}");
    }
}

fn pod(name: &str, labels: &[(&str, &str)], namespace_labels: &[(&str, &str)]) -> FleetPod {
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    FleetPod {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        labels: map(labels),
        namespace_labels: map(namespace_labels),
    }
}

fn for_pods(leak: Leak, selector: PodSelector) -> FleetLeak {
    FleetLeak {
        pods: Some(selector),
        ..everywhere(leak)
    }
}

fn labelled(key: &str, value: &str) -> Selector {
    Selector(vec![Requirement::In(key.into(), vec![value.into()])])
}

#[test]
fn a_leak_for_pods_asks_nothing_of_nodes_and_only_of_the_pods_it_selects() {
    let leaks = [
        for_pods(leak("all", "BLUE"), PodSelector::default()),
        for_pods(
            leak("upf", "RED"),
            PodSelector {
                namespaces: labelled("team", "core"),
                pods: labelled("app", "upf"),
            },
        ),
    ];
    let pods = [
        pod("a", &[("app", "upf")], &[("team", "core")]),
        pod("b", &[("app", "upf")], &[]),
        pod("c", &[], &[("team", "core")]),
    ];
    let plan = plan_node(&node("n", &[], &[]), &pods, &leaks, &BTreeMap::new());
    assert!(plan.leaks.is_empty());
    let names =
        |pod: &PlannedPod| -> Vec<String> { pod.leaks.iter().map(ToString::to_string).collect() };
    let planned: Vec<_> = plan
        .pods
        .iter()
        .map(|pod| (&*pod.uid, names(pod)))
        .collect();
    assert_eq!(
        planned,
        [
            ("uid-of-a", vec!["all".to_owned(), "upf".into()]),
            ("uid-of-b", vec!["all".into()]),
            ("uid-of-c", vec!["all".into()]),
        ]
    );
    assert_eq!(plan.pod_leaks.len(), 2);

    let windows = node("n", &[("kubernetes.io/os", "windows")], &[]);
    let plan = plan_node(&windows, &pods, &leaks, &BTreeMap::new());
    assert_eq!(plan, NodePlan::default());
    let plan = plan_node(&node("n", &[], &[]), &pods[1..], &leaks, &BTreeMap::new());
    assert_eq!(plan.pod_leaks.len(), 1, "no pod here has the other");
}

#[test]
fn leaks_for_pods_conflict_only_where_they_meet_in_one_pod() {
    let audited = Leak {
        mode: Mode::Audit,
        ..leak("audits", "BLUE")
    };
    let selecting = |app: &str| PodSelector {
        pods: labelled("app", app),
        ..PodSelector::default()
    };
    let leaks = [
        for_pods(leak("enforces", "BLUE"), selecting("upf")),
        for_pods(audited, PodSelector::default()),
        everywhere(leak("of-nodes", "BLUE")),
    ];
    let pods = [
        pod("a", &[("app", "upf")], &[]),
        pod("b", &[("app", "upf")], &[]),
        pod("c", &[], &[]),
    ];
    let plan = plan_node(&node("n", &[], &[]), &pods, &leaks, &BTreeMap::new());
    assert_eq!(plan.leaks.len(), 1);
    let names: Vec<String> = plan
        .pods
        .iter()
        .map(|pod| pod.leaks[0].to_string())
        .collect();
    assert_eq!(names, ["enforces", "enforces", "audits"]);
    assert_eq!(plan.conflicts.len(), 1, "{:?}", plan.conflicts);
    assert_eq!(plan.conflicts[0].later.as_str(), "audits");
}

#[test]
fn endpoints_are_opened_only_by_the_node_that_runs_them_on_an_address_of_its_own() {
    let here = node("here", &[], &["192.0.2.1", "2001:db8::1"]);
    let endpoints = [
        endpoint("here", "192.0.2.1", 8080, "http"),
        endpoint("here", "2001:db8::1", 8080, "http"),
        // A pod with a network of its own.
        endpoint("here", "10.244.0.7", 8080, "http"),
        // Says that it is somewhere else.
        endpoint("there", "192.0.2.1", 8081, "http"),
    ];
    assert_eq!(
        opened(&here, &[], &endpoints),
        ["192.0.2.1/32 8080", "2001:db8::1/128 8080"]
    );
}

#[test]
fn a_reference_may_be_to_some_ports_of_a_service() {
    let here = node("here", &[], &["192.0.2.1"]);
    let endpoints = [
        endpoint("here", "192.0.2.1", 8080, "http"),
        endpoint("here", "192.0.2.1", 8443, "https"),
    ];
    assert_eq!(opened(&here, &["https"], &endpoints), ["192.0.2.1/32 8443"]);
    assert_eq!(opened(&here, &[], &endpoints).len(), 2);
    assert!(opened(&here, &["metrics"], &endpoints).is_empty());
}

#[test]
fn of_leaks_in_conflict_the_first_is_put_into_force_and_the_rest_besides() {
    let mut auditing = leak("b", "BLUE");
    auditing.mode = Mode::Audit;
    let mut red = leak("c", "RED");
    red.services.push(tcp("ssh", 22, &["192.0.2.1/32"]));
    let leaks = [leak("a", "BLUE"), auditing, red].map(everywhere);
    let plan = plan_node(&node("n", &[], &[]), &[], &leaks, &BTreeMap::new());
    let placed: Vec<&str> = plan
        .leaks
        .iter()
        .map(|placed| placed.leak.name.as_str())
        .collect();
    assert_eq!(placed, ["a", "c"]);
    let [conflict] = plan.conflicts.as_slice() else {
        panic!("{:?}", plan.conflicts)
    };
    assert_eq!(
        (conflict.earlier.as_str(), conflict.later.as_str()),
        ("a", "b")
    );
    assert!(matches!(conflict.error, SetError::Mode { .. }));
}

#[test]
fn leaks_that_meet_on_no_node_are_in_no_conflict() {
    let mut auditing = everywhere(leak("b", "BLUE"));
    Arc::make_mut(&mut auditing.leak).mode = Mode::Audit;
    auditing.nodes = Selector(vec![Requirement::Exists("lab".to_owned())]);
    let leaks = [everywhere(leak("a", "BLUE")), auditing];
    let plan = plan_node(&node("n", &[], &[]), &[], &leaks, &BTreeMap::new());
    assert_eq!((plan.leaks.len(), plan.conflicts.len()), (1, 0));
}

#[test]
fn a_leak_left_out_is_in_nobodys_way() {
    // b can't stand beside a, so c, which can't stand beside b, may.
    let mut second = leak("b", "BLUE");
    second.mode = Mode::Audit;
    second.services.push(tcp("ssh", 22, &["192.0.2.1/32"]));
    let mut third = leak("c", "BLUE");
    third.services.push(tcp("ssh", 22, &["192.0.2.1/32"]));
    let leaks = [leak("a", "BLUE"), second, third].map(everywhere);
    let plan = plan_node(&node("n", &[], &[]), &[], &leaks, &BTreeMap::new());
    let placed: Vec<&str> = plan
        .leaks
        .iter()
        .map(|placed| placed.leak.name.as_str())
        .collect();
    assert_eq!(placed, ["a", "c"]);
}

#[test]
fn nodes_that_have_to_do_the_same_get_the_same_plan_and_others_their_own() {
    let mut to_edge = everywhere(leak("edge", "BLUE"));
    to_edge.nodes = Selector(vec![Requirement::Exists("edge".to_owned())]);
    let mut web = everywhere(leak("web", "GREEN"));
    web.nodes = Selector(vec![Requirement::Exists("web".to_owned())]);
    web.references.push(Reference {
        name: "web".parse().unwrap(),
        service: frontend(),
        ports: Vec::new(),
        sources: Vec::new(),
    });
    let leaks = [everywhere(leak("all", "RED")), to_edge, web];
    let endpoints = BTreeMap::from([(
        frontend(),
        BTreeSet::from([endpoint("w1", "10.0.0.1", 80, "")]),
    )]);
    let mut planner = Planner::new(&leaks, &endpoints);
    let mut plan =
        |name, labels: &[(&str, &str)]| planner.plan(&node(name, labels, &["10.0.0.1"]), &[]);
    let (core, other_core) = (plan("c1", &[]), plan("c2", &[]));
    assert!(Arc::ptr_eq(&core, &other_core));
    assert_eq!(core.leaks.len(), 1);
    let edge = plan("e1", &[("edge", "")]);
    assert_eq!(edge.leaks.len(), 2);
    // A Service has its endpoints on one of them.
    let (there, elsewhere) = (plan("w1", &[("web", "")]), plan("w2", &[("web", "")]));
    assert_eq!(
        there.leaks[1].leak.services.len(),
        elsewhere.leaks[1].leak.services.len() + 1
    );
}
