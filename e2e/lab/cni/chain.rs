//! The whole chain, as a container runtime runs it: bridge, host-local, vrf and vrfgate, by libcni.

use std::process::Output;

use vrfgate_e2e::{CniNode, Lab};

use super::open;
use crate::suite::tests;

tests! {
    "cni";
    once:
        a_pod_behind_bridge_and_vrf_serves_the_listed_port_with_an_unmodified_server,
        a_network_configuration_that_says_where_to_write_is_refused_and_nothing_is_written_there;
}

fn a_pod_behind_bridge_and_vrf_serves_the_listed_port_with_an_unmodified_server() {
    let machine = Lab::new();
    let pod = machine.pod("pod");
    let node = CniNode::new();
    let net1 = node.interface(&pod, "net1", &open(8080));
    let _http = pod.listen("http").tcp("0.0.0.0:8080");
    let _ssh = pod.listen("ssh").tcp("0.0.0.0:22");

    let result = must(&net1.chain(&machine, "add"));
    assert!(result.contains("10.1.0.2/16"), "{result}");
    assert!(pod.ip_shows("link show master BLUE").contains("net1"));
    machine.connect("10.1.0.2:8080").should_reach("http");
    machine.connect("10.1.0.2:22").should_be_refused();
    // No CHECK of the whole chain: bridge looks for its gateway in the main table, which `vrf` has emptied of it.

    must(&net1.chain(&machine, "del"));
    must(&net1.chain(&machine, "del"));
    assert!(node.left().is_empty(), "{:?}", node.left());
    assert_eq!(pod.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
    let links = pod.ip_shows("-brief link");
    assert!(
        !links.contains("net1") && !links.contains("BLUE"),
        "{links}"
    );
}

/// As from a `NetworkAttachmentDefinition`, whose writers are not root on the node.
fn a_network_configuration_that_says_where_to_write_is_refused_and_nothing_is_written_there() {
    let machine = Lab::new();
    let pod = machine.pod("pod");
    let node = CniNode::new();
    for key in ["logFile", "runDir", "bpffs", "agentSocket"] {
        let theirs = node.path(&format!("theirs-{key}"));
        let mut config = open(8080);
        config[key] = theirs.to_string_lossy().into();
        let net1 = node.interface(&pod, "net1", &config);

        let output = net1.chain(&machine, "add");
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let refused = format!("{key}: is set in /etc/vrfgate/cni.conf on the node");
        assert!(
            !output.status.success() && said.concat().contains(&refused),
            "{said:?}"
        );
        // The runtime calls DEL after an ADD that failed, with the same configuration.
        must(&net1.chain(&machine, "del"));
        assert!(!theirs.exists(), "{}", theirs.display());
        assert!(node.left().is_empty(), "{:?}", node.left());
    }
}

#[track_caller]
fn must(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    said
}
