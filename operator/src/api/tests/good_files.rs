//! What is accepted, and what it is taken to mean.

use vrfgate_core::{DeviceName, Mode, Protocol, Replies};

use super::{cases, read, with_metadata_and_spec, with_spec};

/// The example of the design, less what only Kubernetes can do.
const FULL: &str = "
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: blue}
spec:
  vrf: BLUE
  nodeSelector: {matchLabels: {}}
  mode: Audit
  routes:
    - prefix: 192.0.2.0/24
      device: lan
      metric: 20
    - prefix: 2001:db8::/32
  replies: Route
  returnRoutes:
    - prefix: 10.0.0.0/24
      source: 192.0.2.1
  services:
    - name: ssh
      protocol: TCP
      port: 22
      addresses: [192.0.2.1/32]
      sources: [10.0.0.0/8]
    - name: rtp
      protocol: UDP
      port: 8000
      endPort: 8010
";

#[test]
fn every_field_arrives() {
    let leaks = read(FULL);
    let [leak] = leaks.as_slice() else {
        panic!("{leaks:#?}")
    };
    assert_eq!(leak.name.as_str(), "blue");
    assert_eq!(leak.vrf.as_str(), "BLUE");
    assert_eq!(leak.mode, Mode::Audit);
    assert_eq!(leak.replies, Replies::Route);
    let routes: Vec<String> = leak
        .routes
        .iter()
        .map(|route| {
            format!(
                "{} {:?} {:?}",
                route.prefix,
                route.device.as_ref().map(DeviceName::as_str),
                route.metric
            )
        })
        .collect();
    assert_eq!(
        routes,
        [
            "192.0.2.0/24 Some(\"lan\") Some(20)",
            "2001:db8::/32 None None"
        ]
    );
    let returns: Vec<String> = leak
        .return_routes
        .iter()
        .map(|route| format!("{} src {}", route.prefix, route.source))
        .collect();
    assert_eq!(returns, ["10.0.0.0/24 src 192.0.2.1"]);
    let [ssh, rtp] = leak.services.as_slice() else {
        panic!("{:#?}", leak.services)
    };
    assert_eq!(ssh.name.as_str(), "ssh");
    assert_eq!(ssh.protocol, Protocol::Tcp);
    assert_eq!((ssh.ports.first(), ssh.ports.last()), (22, 22));
    assert_eq!(ssh.addresses, ["192.0.2.1/32".parse().unwrap()]);
    assert_eq!(ssh.sources, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(rtp.protocol, Protocol::Udp);
    assert_eq!((rtp.ports.first(), rtp.ports.last()), (8000, 8010));
    assert!(rtp.sources.is_empty());
}

#[test]
fn a_service_without_addresses_takes_those_of_the_routes() {
    let leaks = read(FULL);
    let prefixes: Vec<String> = leaks[0].services[1]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(prefixes, ["192.0.2.0/24", "2001:db8::/32"]);
}

#[test]
fn a_vrf_alone_is_a_leak_that_opens_nothing() {
    let leaks = read(&with_spec("vrf: BLUE"));
    assert_eq!(leaks[0].mode, Mode::Enforce);
    assert!(leaks[0].services.is_empty());
}

#[test]
fn services_may_share_a_port_on_other_addresses_or_another_protocol() {
    let leaks = read(&with_spec(
        "vrf: BLUE, services: [
            {name: a, protocol: TCP, port: 53, addresses: [192.0.2.1/32]},
            {name: b, protocol: UDP, port: 53, addresses: [192.0.2.1/32]},
            {name: c, protocol: TCP, port: 53, addresses: [192.0.2.2/32]},
            {name: d, protocol: TCP, port: 54, endPort: 60, addresses: [192.0.2.0/24]}]",
    ));
    assert_eq!(leaks[0].services.len(), 4);
}

#[test]
fn every_port_can_be_opened() {
    let leaks = read(&with_spec(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, endPort: 65535, addresses: [0.0.0.0/0, '::/0']}]",
    ));
    let ports = leaks[0].services[0].ports;
    assert_eq!((ports.first(), ports.last()), (1, 65535));
}

#[test]
fn the_longest_device_name_the_kernel_takes_is_taken() {
    let leaks = read(&with_spec("vrf: FIFTEEN-BYTES15"));
    assert_eq!(leaks[0].vrf.as_str(), "FIFTEEN-BYTES15");
}

#[test]
fn empty_documents_and_empty_files_hold_no_leaks() {
    for text in ["", "\n", "# nothing yet\n", "---\n---\n", "null\n"] {
        assert!(read(text).is_empty(), "{text:?}");
    }
    let text = format!("---\n---\n{}---\n", with_spec("vrf: BLUE"));
    assert_eq!(read(&text).len(), 1);
}

#[test]
fn json_is_read_too() {
    let leaks = read(
        r#"{"apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfLeak",
            "metadata": {"name": "blue"}, "spec": {"vrf": "BLUE"}}"#,
    );
    assert_eq!(leaks[0].vrf.as_str(), "BLUE");
}

#[test]
fn an_object_exported_from_a_cluster_is_read() {
    let metadata = "name: blue, uid: 5d1c, generation: 3, resourceVersion: '12', \
                    creationTimestamp: '2026-01-01T00:00:00Z', labels: {example.org/owner: net}";
    assert_eq!(
        read(&with_metadata_and_spec(metadata, "vrf: BLUE")).len(),
        1
    );
}

#[test]
fn what_the_api_server_accepts_is_accepted() {
    for spec in cases::ACCEPTED {
        assert_eq!(read(&with_spec(spec)).len(), 1);
    }
}
