//! The gate waits for a port that is shared, and comes by itself when it isn't any more.

use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use vrfgate_e2e::{CniNode, Lab, complaint};

use super::{Server, TCP, is_concerned, only_bound, share, should_soon_be_in_force, should_wait};
use crate::{
    leaks::open_tcp,
    net::{Net, V4},
    suite::{soon, tests},
};

tests! {
    "shared";
    each family:
        the_gate_waits_for_a_shared_listening_port_and_comes_by_itself_when_it_is_freed,
        a_socket_that_is_bound_and_does_not_listen_shares_a_port,
        a_listener_bound_to_a_slave_shares_a_port,
        a_connection_of_an_unbound_listener_that_is_gone_shares_its_port,
        sockets_at_addresses_that_do_not_overlap_are_in_nobodys_way;
    once:
        three_shared_ports_of_several_processes_are_all_named,
        a_listener_on_a_device_of_no_vrf_shares_the_port_of_one_of_a_vrf,
        a_dual_stack_listener_shares_the_port_of_an_ipv4_one,
        reuseport_does_not_make_a_shared_port_harmless,
        a_port_shared_in_one_vrf_keeps_the_leaks_of_two_waiting,
        run_once_fails_while_a_port_is_shared_and_changes_nothing,
        accept_shared_ports_goes_ahead_and_warns,
        a_gate_on_a_host_that_had_the_sysctl_at_1_waits_for_nobody,
        add_refuses_a_pod_that_shares_a_port,
        an_older_kernel_is_not_concerned;
}

fn the_gate_waits_for_a_shared_listening_port_and_comes_by_itself_when_it_is_freed(net: &Net) {
    if !is_concerned() {
        return;
    }
    let (lab, client) = net.one_vrf();
    let [unbound, bound] = share(&lab, net, 22, "BLUE");
    let mut vrfgate = lab.vrfgate();
    let before = lab.routing();

    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    let why = should_wait(&lab, &vrfgate);
    for words in [
        "TCP port 22 is shared by",
        "vrfgate-lab (process",
        "bound to no device",
        "bound to BLUE",
        "SO_REUSEPORT",
        "--accept-shared-ports",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    assert_eq!(vrfgate.status()["gate"], serde_json::Value::Null);
    assert_eq!(lab.routing(), before);
    client.connect(net.router(22)).should_reach("bound");

    drop(bound);

    should_soon_be_in_force(&lab, &vrfgate);
    client.connect(net.main(22)).should_reach("unbound");
    drop(unbound);
}

fn a_socket_that_is_bound_and_does_not_listen_shares_a_port(net: &Net) {
    if !is_concerned() {
        return;
    }
    for of_vrf in [true, false] {
        let (lab, _client) = net.one_vrf();
        let (bound, other) = if of_vrf {
            (Some("BLUE"), None)
        } else {
            (None, Some("BLUE"))
        };
        let silent = only_bound(&lab, bound, net.any(22));
        let plan = lab.listen("listener");
        let plan = match other {
            Some(device) => plan.bound_to(device),
            None => plan,
        };
        let _listener = plan.tcp(net.any(22));
        let mut vrfgate = lab.vrfgate();
        vrfgate.start(&open_tcp("BLUE", net, &[22]));
        let why = should_wait(&lab, &vrfgate);
        assert!(why.contains("TCP port 22 is shared by"), "{why}");
        drop(silent);
        should_soon_be_in_force(&lab, &vrfgate);
    }
}

fn a_listener_bound_to_a_slave_shares_a_port(net: &Net) {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = net.one_vrf();
    let sockets = share(&lab, net, 22, "blue1");
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    let why = should_wait(&lab, &vrfgate);
    assert!(why.contains("bound to blue1"), "{why}");
    drop(sockets);
    should_soon_be_in_force(&lab, &vrfgate);
}

fn a_connection_of_an_unbound_listener_that_is_gone_shares_its_port(net: &Net) {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = net.one_vrf();
    let listener = lab.listen("unbound").tcp(net.any(22));
    let connection = connect(&lab, net.main(22));
    listener.should_hear_something();
    drop(listener);
    let _bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    let why = should_wait(&lab, &vrfgate);
    assert!(why.contains("TCP port 22 is shared by"), "{why}");
    drop(connection);
    should_soon_be_in_force(&lab, &vrfgate);
}

fn sockets_at_addresses_that_do_not_overlap_are_in_nobodys_way(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _sockets = [
        lab.listen("unbound").tcp(net.main(22)),
        lab.listen("bound").bound_to("BLUE").tcp(net.router(22)),
        // In no VRF.
        lab.listen("lan")
            .bound_to("lan")
            .sharing_its_port()
            .tcp(net.any(23)),
        lab.listen("unbound").sharing_its_port().tcp(net.any(23)),
        // Another protocol.
        lab.listen("unbound").udp(net.any(24)),
    ];
    let _tcp = lab.listen("bound").bound_to("BLUE").tcp(net.any(24));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", net, &[22]));
    client.connect(net.main(22)).should_reach("unbound");
    client.connect(net.router(22)).should_reach("bound");
}

fn three_shared_ports_of_several_processes_are_all_named() {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = V4.one_vrf();
    let servers: Vec<[Server; 2]> = [("sshd", 22), ("webd", 80), ("bgpd", 179)]
        .map(|(name, port)| {
            [
                Server::start(&lab, name, "", port),
                Server::start(&lab, &format!("{name}-blue"), "BLUE", port),
            ]
        })
        .into();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let why = should_wait(&lab, &vrfgate);
    for (name, port) in [("sshd", 22), ("webd", 80), ("bgpd", 179)] {
        let shared = why
            .split("; ")
            .find(|part| part.contains(&format!("TCP port {port} is shared by")));
        let shared = shared.unwrap_or_else(|| panic!("{port}: {why}"));
        for process in [
            format!("{name} (process "),
            format!("{name}-blue (process "),
        ] {
            assert!(shared.contains(&process), "{process}: {shared}");
        }
    }
    for pair in servers {
        drop(pair);
    }
    should_soon_be_in_force(&lab, &vrfgate);
}

fn a_dual_stack_listener_shares_the_port_of_an_ipv4_one() {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = V4.one_vrf();
    let _unbound = lab.listen("unbound").tcp("[::]:22");
    let bound = lab.listen("bound").bound_to("BLUE").tcp("0.0.0.0:22");
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let why = should_wait(&lab, &vrfgate);
    assert!(why.contains("on * bound to no device"), "{why}");
    drop(bound);
    should_soon_be_in_force(&lab, &vrfgate);
}

/// To the kernel, it is one of no VRF.
fn a_listener_on_a_device_of_no_vrf_shares_the_port_of_one_of_a_vrf() {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = V4.one_vrf();
    let lan = lab.listen("lan").bound_to("lan").tcp(V4.any(22));
    let _bound = lab.listen("bound").bound_to("BLUE").tcp(V4.any(22));
    let mut vrfgate = lab.vrfgate();
    let doctor = || String::from_utf8_lossy(&vrfgate.call(&["doctor"]).stdout).into_owned();
    let found = doctor();
    assert!(found.contains("note     the gate would wait"), "{found}");
    assert!(found.contains("TCP port 22 is shared by"), "{found}");
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    let why = should_wait(&lab, &vrfgate);
    assert!(why.contains("bound to lan"), "{why}");
    drop(lan);
    should_soon_be_in_force(&lab, &vrfgate);
    let found = String::from_utf8_lossy(&vrfgate.call(&["doctor"]).stdout).into_owned();
    assert!(!found.contains("would wait"), "{found}");
}

/// They were bound under 0, each in a bucket of its own.
fn reuseport_does_not_make_a_shared_port_harmless() {
    if !is_concerned() {
        return;
    }
    let (lab, _client) = V4.one_vrf();
    let sockets = super::share_by_reuseport(&lab, &V4, 179);
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    should_wait(&lab, &vrfgate);
    drop(sockets);
    should_soon_be_in_force(&lab, &vrfgate);
}

fn a_port_shared_in_one_vrf_keeps_the_leaks_of_two_waiting() {
    if !is_concerned() {
        return;
    }
    let (lab, _blue) = V4.one_vrf();
    let _red = lab
        .vrf("RED")
        .slave("red1", "10.1.0.1/24")
        .client("10.1.0.2/24");
    let [_unbound, bound] = share(&lab, &V4, 22, "red1");
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&(open_tcp("BLUE", &V4, &[22]) + &open_tcp("RED", &V4, &[22])));
    let why = should_wait(&lab, &vrfgate);
    assert!(why.contains("bound to red1"), "{why}");
    assert_eq!(vrfgate.status()["leaks"].as_array().map(Vec::len), Some(2));
    drop(bound);
    should_soon_be_in_force(&lab, &vrfgate);
}

fn run_once_fails_while_a_port_is_shared_and_changes_nothing() {
    if !is_concerned() {
        return;
    }
    let (lab, client) = V4.one_vrf();
    let _sockets = share(&lab, &V4, 22, "BLUE");
    let vrfgate = lab.vrfgate();
    vrfgate.write(&open_tcp("BLUE", &V4, &[22]));
    let output = vrfgate.run_once();
    let said = complaint(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("TCP port 22 is shared by"), "{said}");
    assert_eq!(lab.sysctl(TCP), "0");
    assert!(!vrfgate.pins().exists());
    client.connect(V4.router(22)).should_reach("bound");
}

fn accept_shared_ports_goes_ahead_and_warns() {
    let (lab, _client) = V4.one_vrf();
    // No client connects, and they are not shut down: so nothing comes of it.
    let sockets = share(&lab, &V4, 2222, "BLUE");
    let vrfgate = lab.vrfgate();
    vrfgate.write(&open_tcp("BLUE", &V4, &[22]));
    let file = vrfgate.leaks();
    let file = file.to_string_lossy();
    let output = vrfgate.call(&["run", "--once", "--accept-shared-ports", "-f", &file]);
    let said = complaint(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("TCP port 2222 is shared by"), "{said}");
    assert_eq!(lab.sysctl(TCP), "1");
    let output = vrfgate.call(&["clear", "--accept-shared-ports"]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(lab.sysctl(TCP), "0");
    drop(sockets);
}

fn a_gate_on_a_host_that_had_the_sysctl_at_1_waits_for_nobody() {
    let (lab, _client) = V4.one_vrf();
    lab.set_sysctl(TCP, "1");
    let _sockets = super::share_by_reuseport(&lab, &V4, 179);
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    vrfgate.clear();
    assert_eq!(lab.sysctl(TCP), "1");
}

fn add_refuses_a_pod_that_shares_a_port() {
    if !is_concerned() {
        return;
    }
    let (pod, client) = V4.one_vrf();
    let [unbound, bound] = share(&pod, &V4, 8080, "BLUE");
    let node = CniNode::new();
    let services = json!({"services": [{"name": "http", "protocol": "TCP", "port": 8080}]});
    let net1 = node.interface(&pod, "net1", &services);
    net1.should_refuse("ADD", 100, "share TCP port 8080");
    assert_eq!(pod.sysctl(TCP), "0");
    assert!(node.left().is_empty(), "{:?}", node.left());
    drop(bound);
    net1.add();
    client.connect(V4.main(8080)).should_reach("unbound");
    drop(unbound);
    net1.del();
}

fn an_older_kernel_is_not_concerned() {
    if is_concerned() {
        return;
    }
    let (lab, client) = V4.one_vrf();
    let _sockets = share(&lab, &V4, 22, "BLUE");
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    assert_eq!(lab.sysctl(TCP), "1");
    client.connect(V4.main(22)).should_reach("bound");
    vrfgate.clear();
    soon("the sysctl is given back", || lab.sysctl(TCP) == "0");
}

fn connect(lab: &Lab, to: SocketAddr) -> TcpStream {
    let connected = lab.netns().enter(|| TcpStream::connect(to));
    connected.unwrap_or_else(|error| panic!("{to}: {error}"))
}
