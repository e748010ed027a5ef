//! One leak, or one Service, never stops a node: what goes into force of leaks that can't all be.

use std::collections::{BTreeMap, BTreeSet};

use vrfgate_core::{
    Endpoint, FleetNode, Leak, Link, LinkKind, LocalAddress, NodeFacts, Opening, Planner,
    PortRange, Protocol, ServiceKey,
};
use vrfgate_ebpf::{Gate, GateStatus};
use vrfgate_operator::{
    api::{GateLeak, VrfLeak, parse_cluster, read_leaks},
    node::{Engine, Outcome, Reason},
};

use crate::sandbox::Sandbox;

/// A main interface with these addresses, and VRFs.
fn host(addresses: &[&str], vrfs: &[&str]) -> NodeFacts {
    let lan = Link {
        ifindex: 2,
        name: "lan".into(),
        kind: LinkKind::Other,
        master: None,
    };
    let vrfs = (7..).zip(vrfs).map(|(ifindex, name)| Link {
        ifindex,
        name: (*name).into(),
        kind: LinkKind::Vrf {
            table: Some(ifindex),
        },
        master: None,
    });
    NodeFacts {
        links: [lan].into_iter().chain(vrfs).collect(),
        addresses: addresses
            .iter()
            .map(|address| LocalAddress {
                ifindex: 2,
                address: address.parse().unwrap(),
            })
            .collect(),
        prefixes: Vec::new(),
    }
}

/// A leak to BLUE that opens these ports of 192.0.2.1 by a rule each.
fn leak(name: &str, protocol: &str, ports: impl Iterator<Item = u16>) -> Leak {
    let services: Vec<String> = ports
        .map(|port| {
            format!(
                "{{name: p{port}, protocol: {protocol}, port: {port}, addresses: [192.0.2.1/32]}}"
            )
        })
        .collect();
    parse(&format!(
        "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {{name: {name}}}\n\
         spec:\n  vrf: BLUE\n  services: [{}]\n",
        services.join(", ")
    ))
}

fn parse(text: &str) -> Leak {
    read_leaks("text", text).unwrap().remove(0)
}

/// The ports that the gate has in force for a VRF.
fn ports_of(sandbox: &Sandbox, vrf: &str) -> BTreeSet<u16> {
    let gate = status(sandbox);
    let vrf = gate
        .vrfs
        .into_iter()
        .find(|found| found.name == vrf)
        .unwrap();
    let opens = vrf.rules.into_iter().flat_map(|status| status.rule.opens);
    opens
        .flat_map(|opening| opening.ports.first()..=opening.ports.last())
        .collect()
}

fn status(sandbox: &Sandbox) -> GateStatus {
    Gate::inspect(&sandbox.store(), &sandbox.netns())
        .unwrap()
        .unwrap()
}

fn refused(outcome: &Outcome) -> Vec<(&str, Reason)> {
    let refused = outcome.refused.iter();
    refused
        .map(|refused| (refused.leak.as_str(), refused.reason))
        .collect()
}

#[test]
fn of_1100_rules_in_20_leaks_those_that_fit_are_in_force_the_oldest_first() {
    let sandbox = Sandbox::new();
    let facts = host(&["192.0.2.1"], &["BLUE", "RED"]);
    let of = |number: u16| {
        leak(
            &format!("leak{number:02}"),
            "TCP",
            1000 + number * 55..1055 + number * 55,
        )
    };
    let mut leaks: Vec<Leak> = (0..20).map(of).collect();
    // One that is small enough to fit beside those 18 of 55 rules that do.
    leaks.push(leak("small", "UDP", 1..=10));

    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(
        refused(&outcome),
        [("leak18", Reason::NoRoom), ("leak19", Reason::NoRoom)]
    );
    let why = &outcome.refused[0].why;
    assert!(
        why.contains("1047") && why.contains("1024") && why.contains("counters"),
        "{why}"
    );
    let expected: BTreeSet<u16> = (1000..1000 + 18 * 55).chain(1..=10).collect();
    assert_eq!(ports_of(&sandbox, "BLUE"), expected);

    // What goes makes room, and rules of many other names come in one step although both together don't fit.
    leaks.drain(..18);
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), []);
    let others: Vec<Leak> = (20..38).map(of).collect();
    let outcome = engine.reconcile(&others, &facts).unwrap();
    assert_eq!(refused(&outcome), []);
    let expected: BTreeSet<u16> = (2100..2100 + 18 * 55).collect();
    assert_eq!(ports_of(&sandbox, "BLUE"), expected);
    let outcome = engine
        .reconcile(&(0..18).map(of).collect::<Vec<_>>(), &facts)
        .unwrap();
    assert_eq!(refused(&outcome), []);
    let expected: BTreeSet<u16> = (1000..1000 + 18 * 55).collect();
    assert_eq!(ports_of(&sandbox, "BLUE"), expected);
}

#[test]
fn a_leak_that_grows_too_large_stays_as_it_was_and_keeps_nothing_else_back() {
    let sandbox = Sandbox::new();
    let facts = host(&["192.0.2.1"], &["BLUE"]);
    // Of 1,024 counters, these take 1,000.
    let mut leaks: Vec<Leak> = (1..=4)
        .map(|number| {
            leak(
                &format!("large{number}"),
                "TCP",
                number * 1000..number * 1000 + 250,
            )
        })
        .collect();
    let large: BTreeSet<u16> = (1..=4)
        .flat_map(|number| number * 1000..number * 1000 + 250)
        .collect();
    let beside_large =
        |ports: &[u16]| -> BTreeSet<u16> { large.iter().chain(ports).copied().collect() };
    leaks.push(leak("goes", "TCP", 5..=5));
    leaks.push(leak("grows", "TCP", 22..=23));
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), []);

    // Meanwhile, a leak goes, another one comes, and so does a VRF.
    leaks.remove(4);
    leaks[4] = leak("grows", "TCP", 22..=90);
    leaks.push(leak("comes", "UDP", 53..=53));
    let facts = host(&["192.0.2.1"], &["BLUE", "RED"]);
    for _ in 0..2 {
        let outcome = engine.reconcile(&leaks, &facts).unwrap();
        assert_eq!(refused(&outcome), [("grows", Reason::NoRoom)]);
        let why = &outcome.refused[0].why;
        assert!(why.contains("1024") && why.contains("as it was"), "{why}");
        assert_eq!(ports_of(&sandbox, "BLUE"), beside_large(&[22, 23, 53]));
        assert_eq!(ports_of(&sandbox, "RED"), [].into(), "it is in the gate");
    }

    // What it was before may be in the way of a younger leak, which it comes before.
    leaks.push(leak("younger", "TCP", 23..=24));
    leaks[4] = leak("grows", "TCP", 30..=90);
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(
        refused(&outcome),
        [("grows", Reason::NoRoom), ("younger", Reason::Conflict)]
    );

    // Whoever comes anew doesn't know what it was before, and leaves it out.
    drop(engine);
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), [("grows", Reason::NoRoom)]);
    assert_eq!(ports_of(&sandbox, "BLUE"), beside_large(&[53, 23, 24]));

    // When there is room, it grows.
    leaks.drain(..4);
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), []);
    let expected: BTreeSet<u16> = (30..=90).chain([53, 23, 24]).collect();
    assert_eq!(ports_of(&sandbox, "BLUE"), expected);
}

#[test]
fn a_leak_that_contradicts_older_ones_is_left_out_and_comes_when_they_go() {
    let sandbox = Sandbox::new();
    let facts = host(&["192.0.2.1"], &["BLUE", "RED"]);
    let audit = parse(
        "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {name: audit}\nspec: {vrf: BLUE, mode: Audit}\n",
    );
    let red = parse(
        "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {name: red}\nspec:\n  vrf: RED\n  services:\n    \
         - {name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]}\n",
    );
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let leaks = [
        leak("first", "TCP", 22..=23),
        leak("second", "TCP", 23..=24),
        audit,
        red,
        leak("first", "TCP", 80..=80),
        leak("third", "TCP", 25..=25),
    ];
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(
        refused(&outcome),
        [
            ("second", Reason::Conflict),
            ("audit", Reason::Conflict),
            ("first", Reason::Conflict)
        ]
    );
    assert!(
        outcome.refused[0].why.contains("192.0.2.1/32 23/TCP"),
        "{outcome:?}"
    );
    assert_eq!(ports_of(&sandbox, "BLUE"), [22, 23, 25].into());
    assert_eq!(ports_of(&sandbox, "RED"), [22].into());

    let outcome = engine.reconcile(&leaks[1..], &facts).unwrap();
    assert_eq!(refused(&outcome), [("audit", Reason::Conflict)]);
    assert_eq!(ports_of(&sandbox, "BLUE"), [23, 24, 80, 25].into());
}

#[test]
fn a_vrf_whose_table_is_unknown_keeps_no_other_leak_out_and_gets_no_routes() {
    let sandbox = Sandbox::new();
    let mut facts = host(&["192.0.2.1"], &["BLUE", "RED"]);
    facts.links[2].kind = LinkKind::Vrf { table: None };
    let with_route = |name: &str, vrf: &str| {
        parse(&format!(
            "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {{name: {name}}}\nspec:\n  vrf: {vrf}\n  \
             routes: [{{prefix: 192.0.2.0/24}}]\n  services:\n    - {{name: ssh, protocol: TCP, port: 22}}\n"
        ))
    };
    let leaks = [with_route("red", "RED"), with_route("blue", "BLUE")];
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(outcome.desired.waiting.len(), 1);
    assert_eq!(outcome.desired.waiting[0].leak.as_str(), "red");
    let tables: Vec<u32> = outcome
        .desired
        .routes
        .iter()
        .map(|route| route.key.table)
        .collect();
    assert_eq!(tables, [7], "no route of a table that nobody knows");
    assert_eq!(ports_of(&sandbox, "BLUE"), [22].into());
    assert_eq!(ports_of(&sandbox, "RED"), [22].into());
}

/// A Service of Kubernetes, and address, port and protocol of each endpoint.
type Endpoints<'a> = (&'a str, &'a [(&'a str, u16, &'a str)]);

/// As it goes in a cluster: object, planner, the node's object, the node.
fn on_node(leaks: &str, endpoints: &[Endpoints<'_>]) -> (Vec<Leak>, Vec<String>) {
    let leaks: Vec<_> = documents(leaks)
        .iter()
        .map(|leak| parse_cluster(leak).unwrap())
        .collect();
    let endpoints: BTreeMap<ServiceKey, BTreeSet<Endpoint>> = endpoints
        .iter()
        .map(|(service, endpoints)| {
            let key = ServiceKey {
                namespace: "web".into(),
                name: (*service).into(),
            };
            let endpoints = endpoints.iter().map(|(address, port, protocol)| Endpoint {
                node: "n1".into(),
                address: address.parse().unwrap(),
                port: (*port).try_into().unwrap(),
                protocol: match *protocol {
                    "UDP" => vrfgate_core::Protocol::Udp,
                    _ => vrfgate_core::Protocol::Tcp,
                },
                port_name: format!("{port}-{}", protocol.to_lowercase()),
            });
            (key, endpoints.collect())
        })
        .collect();
    let node = FleetNode {
        name: "n1".into(),
        labels: BTreeMap::new(),
        addresses: ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
            .map(|address| address.parse().unwrap())
            .into(),
    };
    let plan = Planner::new(&leaks, &endpoints).plan(&node, &[]);
    let conflicts = plan.conflicts.iter();
    let conflicts = conflicts.map(|conflict| conflict.error.to_string());
    let leaks = plan.leaks.iter();
    let leaks = leaks.map(|placed| {
        GateLeak::new(&placed.leak, placed.generation)
            .parse()
            .unwrap()
    });
    (leaks.collect(), conflicts.collect())
}

fn documents(text: &str) -> Vec<VrfLeak> {
    text.split("---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

fn reference(leak: &str, services: &str) -> String {
    format!(
        "apiVersion: vrfgate.dev/v1alpha1\nkind: VrfLeak\nmetadata: {{name: {leak}}}\nspec:\n  vrf: BLUE\n  services:\n{services}"
    )
}

/// Two ports that share a number, two families, two addresses, and enough ports to fill lists.
const FRONTEND: &[(&str, u16, &str)] = &[
    ("192.0.2.1", 22, "TCP"),
    ("192.0.2.1", 53, "UDP"),
    ("192.0.2.1", 53, "TCP"),
    ("192.0.2.2", 53, "UDP"),
    ("2001:db8::1", 22, "TCP"),
    ("2001:db8::1", 53, "UDP"),
    ("198.51.100.9", 80, "TCP"),
];

#[test]
fn a_service_with_ports_of_both_protocols_and_families_is_one_rule_and_stops_nothing() {
    let sandbox = Sandbox::new();
    let facts = host(&["192.0.2.1", "192.0.2.2", "2001:db8::1"], &["BLUE"]);
    let by_reference = reference(
        "blue",
        "    - {name: web, serviceRef: {namespace: web, name: frontend}}\n",
    );
    let (leaks, conflicts) = on_node(&by_reference, &[("frontend", FRONTEND)]);
    assert_eq!(conflicts, [""; 0]);
    let leaks = [
        leak("older", "TCP", 80..=81),
        leaks[0].clone(),
        leak("younger", "TCP", 443..=443),
    ];
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), []);

    let status = status(&sandbox);
    let names: Vec<&str> = status.vrfs[0]
        .rules
        .iter()
        .map(|status| &*status.rule.name)
        .collect();
    assert_eq!(
        names,
        ["blue/web", "older/p80", "older/p81", "younger/p443"]
    );
    let mut opens = status.vrfs[0].rules[0].rule.opens.clone();
    opens.sort_by_key(|opening| (opening.protocol, opening.ports.first()));
    let opening = |protocol, port: u16, addresses: &[&str]| Opening {
        protocol,
        ports: PortRange::single(port).unwrap(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        prefixes: Vec::new(),
    };
    assert_eq!(
        opens,
        [
            opening(Protocol::Tcp, 22, &["192.0.2.1", "2001:db8::1"]),
            opening(Protocol::Tcp, 53, &["192.0.2.1"]),
            opening(
                Protocol::Udp,
                53,
                &["192.0.2.1", "192.0.2.2", "2001:db8::1"]
            ),
        ]
    );
}

#[test]
fn several_references_to_one_service_open_it_once_and_say_where_they_disagree_on_clients() {
    let sandbox = Sandbox::new();
    let facts = host(&["192.0.2.1", "192.0.2.2", "2001:db8::1"], &["BLUE"]);
    let services = "    - {name: a, serviceRef: {namespace: web, name: frontend, ports: [53-udp]}}\n    \
         - {name: b, serviceRef: {namespace: web, name: frontend}}\n    \
         - {name: c, serviceRef: {namespace: web, name: frontend, ports: [22-tcp]}, sources: [10.0.0.0/8]}\n    \
         - {name: d, protocol: TCP, port: 8080, addresses: [192.0.2.1/32]}\n    \
         - {name: e, serviceRef: {namespace: web, name: other}}\n";
    let other: &[(&str, u16, &str)] = &[("192.0.2.1", 8080, "TCP"), ("192.0.2.1", 9090, "TCP")];
    let (leaks, conflicts) = on_node(
        &reference("blue", services),
        &[("frontend", FRONTEND), ("other", other)],
    );
    assert_eq!(conflicts.len(), 2, "one of each family: {conflicts:?}");
    assert!(
        conflicts[0].contains("service c of")
            || conflicts[0].contains("service c opens 192.0.2.1/32 22/TCP"),
        "{conflicts:?}"
    );
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), []);
    let status = status(&sandbox);
    let names: Vec<&str> = status.vrfs[0]
        .rules
        .iter()
        .map(|status| &*status.rule.name)
        .collect();
    assert_eq!(names, ["blue/a", "blue/b", "blue/d", "blue/e"]);
    assert_eq!(ports_of(&sandbox, "BLUE"), [22, 53, 8080, 9090].into());
}

#[test]
fn references_may_lead_to_more_ports_than_a_leak_may_list() {
    let sandbox = Sandbox::new();
    let facts = host(&["192.0.2.1"], &["BLUE"]);
    let many: Vec<(&str, u16, &str)> = (1..=400).map(|port| ("192.0.2.1", port, "TCP")).collect();
    let (leaks, _) = on_node(
        &reference(
            "blue",
            "    - {name: web, serviceRef: {namespace: web, name: frontend}}\n",
        ),
        &[("frontend", &many)],
    );
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    let outcome = engine.reconcile(&leaks, &facts).unwrap();
    assert_eq!(refused(&outcome), []);
    assert_eq!(ports_of(&sandbox, "BLUE"), (1..=400).collect());
    assert_eq!(status(&sandbox).vrfs[0].rules.len(), 1);
}
