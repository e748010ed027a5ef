//! The world that an example speaks of: its VRFs, addresses, servers and pods, and the agent of its node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::{Value, json};
use vrfgate_core::{
    Endpoint, FleetLeak, FleetNode, FleetPod, Leak, LeakName, NodePlan, Planner, Prefix, Protocol,
    Replies, ServiceKey,
};
use vrfgate_e2e::{CniNode, Host, Lab, Listener, ReplyFrom};
use vrfgate_operator::api::{GateLeak, VrfLeak, parse_cluster};

use super::Example;

/// No example lists it.
const UNLISTED: u16 = 9999;

/// The node's address inside the cluster, and on `lan`.
const NODE: &str = "192.0.2.1";

/// Puts an example into force and uses all that it opens.
pub fn show(example: &Example) {
    match example {
        Example::List(list) => in_pod(&plugin_entry(list), None),
        Example::Objects(objects, text) => {
            let leaks: Vec<VrfLeak> = of_kind(objects, "VrfLeak")
                .map(|object| serde_json::from_value(object.clone()).expect("a VrfLeak"))
                .collect();
            assert!(!leaks.is_empty(), "no VrfLeak in:\n{text}");
            let parsed: Vec<FleetLeak> = leaks
                .iter()
                .map(|leak| parse_cluster(leak).unwrap_or_else(|errors| panic!("{errors:?}")))
                .collect();
            if let Some(network) = of_kind(objects, "NetworkAttachmentDefinition").next() {
                let list = network["spec"]["config"].as_str().unwrap_or_default();
                let list = serde_json::from_str(list).expect("a configuration list");
                in_pod(&plugin_entry(&list), Some((objects, &parsed)));
            } else {
                let only_here = leaks.iter().all(|leak| {
                    let mut services = leak.spec.services.iter();
                    leak.spec.node_selector.is_none()
                        && services.all(|service| service.service_ref.is_none())
                });
                on_node(&parsed, objects, only_here.then_some(text.as_str()));
            }
        }
    }
}

/// On a node with the labels and Services that the leaks ask for; by `vrfgate run` where `text` is for a machine, else by
/// an agent.
fn on_node(leaks: &[FleetLeak], objects: &[Value], text: Option<&str>) {
    let plan = plan(leaks, objects, &[]);
    let leaks: Vec<&Leak> = plan.leaks.iter().map(|placed| &*placed.leak).collect();
    let lab = Lab::new();
    lab.ip("route add default via 192.0.2.254 dev lan");
    let targets: BTreeSet<IpAddr> = leaks
        .iter()
        .flat_map(|leak| {
            leak.services
                .iter()
                .map(|service| target(&service.addresses))
        })
        .collect();
    for address in &targets {
        if address.to_string() != NODE {
            lab.ip(&format!("address add {address}/32 dev lan"));
        }
    }
    let clients: BTreeMap<&str, Host> = leaks
        .iter()
        .map(|leak| (leak.vrf.as_str(), behind(&lab, leak)))
        .collect();
    let _servers = servers(&lab, &leaks);

    let node = CniNode::new();
    let machine = lab.vrfgate();
    let _agent = if let Some(text) = text {
        machine.apply(text);
        None
    } else {
        let leaks: Vec<GateLeak> = plan.leaks.iter().map(|placed| wire(&placed.leak)).collect();
        Some(node.agent(&lab, &json!({"leaks": leaks})))
    };
    for leak in &leaks {
        let client = &clients[leak.vrf.as_str()];
        for service in &leak.services {
            let address = target(&service.addresses);
            attempt(client, service.protocol, address, service.ports.first());
        }
        let address = target(&leak.services[0].addresses);
        client.connect((address, UNLISTED)).should_be_refused();
        client.ask((address, UNLISTED)).should_be_refused();
    }
}

/// In a pod whose second interface is in BLUE, by the plugin; and by the agent, where leaks select the pod.
fn in_pod(plugin: &Value, by_leaks: Option<(&[Value], &[FleetLeak])>) {
    let pod = Lab::new();
    let client = pod
        .vrf("BLUE")
        .slave("net1", "10.1.0.2/16")
        .client("10.1.0.3/16");
    let own: IpAddr = [10, 1, 0, 2].into();
    let mut opened: BTreeSet<(Protocol, u16)> = BTreeSet::new();
    for service in plugin["services"].as_array().into_iter().flatten() {
        let port = service["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        opened.insert((
            if service["protocol"] == "UDP" {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            port.expect("a port"),
        ));
    }
    let machine = Lab::new();
    let node = CniNode::new();
    let interface = node.interface(&pod, "net1", plugin);
    let (interface, _agent) = match by_leaks {
        None => (interface, None),
        Some((objects, leaks)) => {
            let object = of_kind(objects, "Pod").next().expect("a pod");
            let place = |field: &str| object["metadata"][field].as_str().unwrap_or("default");
            let (namespace, name) = (place("namespace"), place("name"));
            let selected = FleetPod {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: "uid".to_owned(),
                labels: labels(&object["metadata"]["labels"]),
                namespace_labels: [(
                    "kubernetes.io/metadata.name".to_owned(),
                    namespace.to_owned(),
                )]
                .into(),
            };
            let plan = plan(leaks, objects, &[selected]);
            assert_eq!(plan.pods.len(), 1, "the leaks select the pod");
            for placed in &plan.pod_leaks {
                let services = placed.leak.services.iter();
                opened.extend(services.map(|service| (service.protocol, service.ports.first())));
            }
            let names: Vec<&str> = plan.pods[0].leaks.iter().map(LeakName::as_str).collect();
            let leaks: Vec<GateLeak> = plan
                .pod_leaks
                .iter()
                .map(|placed| wire(&placed.leak))
                .collect();
            let spec = json!({
                "pods": [{"namespace": namespace, "name": name, "uid": "uid", "leaks": names}],
                "podLeaks": leaks,
            });
            let agent = node.agent(&machine, &spec);
            (interface.of_pod(namespace, name), Some(agent))
        }
    };
    assert!(!opened.is_empty(), "opens nothing: {plugin}");
    let _servers: Vec<Listener> = opened
        .iter()
        .chain(&[(Protocol::Tcp, UNLISTED), (Protocol::Udp, UNLISTED)])
        .map(|(protocol, port)| server(&pod, *protocol, *port, ReplyFrom::AskedAddressAndInterface))
        .collect();
    interface.add();
    for &(protocol, port) in &opened {
        attempt(&client, protocol, own, port);
    }
    client.connect((own, UNLISTED)).should_be_refused();
    client.ask((own, UNLISTED)).should_be_refused();
}

fn attempt(client: &Host, protocol: Protocol, address: IpAddr, port: u16) {
    match protocol {
        Protocol::Tcp => client.connect((address, port)).should_soon_reach("listed"),
        Protocol::Udp => client.ask((address, port)).should_soon_reach("listed"),
    }
}

/// A client behind the leak's VRF, among the sources of its first restricted service.
fn behind(lab: &Lab, leak: &Leak) -> Host {
    let restricted = leak
        .services
        .iter()
        .find_map(|service| service.sources.first());
    let (router, client) = match restricted.map(|prefix| prefix.network()) {
        Some(IpAddr::V4(network)) => {
            let at = |number: u32| std::net::Ipv4Addr::from(u32::from(network) + number);
            (format!("{}/24", at(1)), format!("{}/24", at(2)))
        }
        _ => ("10.0.0.1/24".to_owned(), "10.0.0.2/24".to_owned()),
    };
    let vrf = leak.vrf.as_str();
    let slave = format!("{}1", vrf.to_lowercase());
    lab.vrf(vrf).slave(&slave, &router).client(&client)
}

/// Wildcard servers on each port, and on one that nothing lists.
fn servers(lab: &Lab, leaks: &[&Leak]) -> Vec<Listener> {
    let mut ports: BTreeSet<(Protocol, u16, bool)> = BTreeSet::new();
    for leak in leaks {
        let steered = leak.replies == Replies::Steer;
        let services = leak.services.iter();
        ports.extend(services.map(|service| (service.protocol, service.ports.first(), steered)));
    }
    ports.extend([
        (Protocol::Tcp, UNLISTED, false),
        (Protocol::Udp, UNLISTED, false),
    ]);
    let reply = |steered| {
        if steered {
            ReplyFrom::AskedAddress
        } else {
            ReplyFrom::AskedAddressAndInterface
        }
    };
    ports
        .into_iter()
        .map(|(protocol, port, steered)| server(lab, protocol, port, reply(steered)))
        .collect()
}

fn server(host: &Host, protocol: Protocol, port: u16, reply: ReplyFrom) -> Listener {
    let plan = host.listen("listed").replying_from(reply);
    match protocol {
        Protocol::Tcp => plan.tcp(("0.0.0.0", port)),
        Protocol::Udp => plan.udp(("0.0.0.0", port)),
    }
}

/// An address that the node has, or is given, inside the first of these.
fn target(prefixes: &[Prefix]) -> IpAddr {
    let node: IpAddr = NODE.parse().expect("an address");
    if prefixes.iter().any(|prefix| prefix.contains(node)) {
        node
    } else {
        prefixes[0].network()
    }
}

/// What the one node of the cluster is asked for. It has the labels that leaks select by, and runs what Services select.
fn plan(leaks: &[FleetLeak], objects: &[Value], pods: &[FleetPod]) -> NodePlan {
    let selectors = of_kind(objects, "VrfLeak");
    let node = FleetNode {
        name: "node".to_owned(),
        labels: selectors
            .flat_map(|leak| labels(&leak["spec"]["nodeSelector"]["matchLabels"]))
            .collect(),
        addresses: [NODE.parse().expect("an address")].into(),
    };
    let endpoints = endpoints(objects);
    let plan = Planner::new(leaks, &endpoints).plan(&node, pods);
    assert_eq!(plan.conflicts, [], "examples conflict with each other");
    let placed = if pods.is_empty() {
        &plan.leaks
    } else {
        &plan.pod_leaks
    };
    assert_eq!(placed.len(), leaks.len(), "a leak applies to nothing");
    for placed in placed {
        assert!(
            !placed.leak.services.is_empty(),
            "{} opens nothing",
            placed.leak.name
        );
    }
    NodePlan::clone(&plan)
}

/// Endpoints of the Services among the objects, by the named ports of the pods behind.
fn endpoints(objects: &[Value]) -> BTreeMap<ServiceKey, BTreeSet<Endpoint>> {
    let containers = of_kind(objects, "DaemonSet")
        .filter_map(|set| set["spec"]["template"]["spec"]["containers"].as_array())
        .flatten();
    let ports: BTreeMap<&str, u64> = containers
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .filter_map(|port| Some((port["name"].as_str()?, port["containerPort"].as_u64()?)))
        .collect();
    let services = of_kind(objects, "Service").map(|service| {
        let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default();
        let key = ServiceKey {
            namespace: text("namespace").to_owned(),
            name: text("name").to_owned(),
        };
        let listed = service["spec"]["ports"].as_array().into_iter().flatten();
        let endpoints = listed.filter_map(|port| {
            let number = *ports.get(port["targetPort"].as_str()?)?;
            Some(Endpoint {
                node: "node".to_owned(),
                address: NODE.parse().ok()?,
                port: u16::try_from(number).ok()?.try_into().ok()?,
                protocol: if port["protocol"] == "UDP" {
                    Protocol::Udp
                } else {
                    Protocol::Tcp
                },
                port_name: port["name"].as_str()?.to_owned(),
            })
        });
        (key, endpoints.collect())
    });
    services.collect()
}

fn wire(leak: &Leak) -> GateLeak {
    GateLeak::new(leak, 1)
}

fn labels(labels: &Value) -> BTreeMap<String, String> {
    let labels = labels.as_object().into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The plugin's part of a list, without what says that it is.
fn plugin_entry(list: &Value) -> Value {
    let mut plugins = list["plugins"].as_array().into_iter().flatten();
    let entry = plugins.find(|plugin| plugin["type"] == "vrfgate");
    entry
        .cloned()
        .unwrap_or_else(|| panic!("no vrfgate in {list}"))
}
