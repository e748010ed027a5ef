//! The gate before everything else on the machine: sockets that bind while it is there may share their ports.

use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use vrfgate_e2e::{Bgp, CniNode, Host, Lab, Started, Vrfgate, complaint};

use super::{TCP, is_concerned, share_by_reuseport, the_kernel_should_be_well};
use crate::{
    leaks::{leak, open_tcp, service},
    net::{Net, V4},
    suite::{soon, tests},
};

tests! {
    "shared";
    each family:
        a_prepared_gate_keeps_a_vrf_closed_that_comes_later_and_nobody_names;
    once:
        whoever_binds_behind_a_prepared_gate_shares_its_port_in_peace,
        a_prepared_gate_is_handed_over_without_a_gap,
        an_agent_takes_a_prepared_gate_over_and_leaves_it_when_nothing_is_asked_for,
        preparing_leaves_rules_that_are_in_force_alone,
        clear_takes_a_prepared_gate_away,
        bgpd_in_main_and_in_a_vrf_behind_a_prepared_gate_lives_through_stop_and_restart;
}

/// `vrfgate run --prepare`, as its unit starts it.
struct Prepared {
    child: Child,
}

impl Prepared {
    #[track_caller]
    fn start(lab: &Lab, vrfgate: &Vrfgate) -> Self {
        let output = vrfgate.call(&["run", "--prepare", "--once"]);
        assert!(output.status.success(), "{}", complaint(&output));
        // From here on sockets may bind; the process that follows VRFs starts beside them.
        assert_eq!(lab.sysctl(TCP), "1");
        let log = File::create(vrfgate.run_dir().join("prepared.log"));
        let log = log.unwrap_or_else(|error| panic!("a log: {error}"));
        let child = vrfgate
            .command(&["run", "--prepare"])
            .stdout(Stdio::null())
            .stderr(log)
            .started();
        let prepared = Self {
            child: child.unwrap_or_else(|error| panic!("starting vrfgate: {error}")),
        };
        let offer = vrfgate
            .run_dir()
            .join(format!("{}.offered", lab.netns().inode()));
        soon("the gate is offered", || offer.exists());
        prepared
    }

    /// It ends by itself, in peace.
    #[track_caller]
    fn should_have_left(&mut self) {
        soon(
            "it lets go of the gate",
            || matches!(self.child.try_wait(), Ok(Some(status)) if status.success()),
        );
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// On a host whose sysctls were 0, `Mode::AsBefore` refuses.
fn a_prepared_gate_keeps_a_vrf_closed_that_comes_later_and_nobody_names(net: &Net) {
    let lab = Lab::new();
    let vrfgate = lab.vrfgate();
    let _prepared = Prepared::start(&lab, &vrfgate);
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let _bound;

    let blue = lab.vrf("BLUE");
    let table = blue.table();
    let client = blue
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    lab.ip(&net.leak_route(table));
    _bound = lab.listen("bound").bound_to("BLUE").tcp(net.any(179));

    soon("the VRF is gated", || {
        vrfgate.status()["gate"]["vrfs"][0]["name"] == "BLUE"
    });
    for port in [net.main(22), net.router(22)] {
        client.connect(port).should_be_refused();
    }
    client.connect(net.router(179)).should_reach("bound");
    assert_eq!(vrfgate.status()["gate"]["prepared"], true);
}

fn whoever_binds_behind_a_prepared_gate_shares_its_port_in_peace() {
    let (lab, client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    let mut prepared = Prepared::start(&lab, &vrfgate);
    let pair = share_by_reuseport(&lab, &V4, 179);

    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));

    prepared.should_have_left();
    let status = vrfgate.status();
    assert_eq!(status["leaks"][0]["state"], "InForce", "{status:#}");
    let held: Vec<TcpStream> = (0..100)
        .flat_map(|_| {
            [
                connect(&client, V4.main(179)),
                connect(&lab, V4.main(179)),
                connect(&client, V4.router(179)),
            ]
        })
        .collect();
    drop(pair);
    let again = share_by_reuseport(&lab, &V4, 179);
    drop(held);
    drop(again);
    the_kernel_should_be_well();
}

fn a_prepared_gate_is_handed_over_without_a_gap() {
    let (lab, client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    let mut prepared = Prepared::start(&lab, &vrfgate);
    let _listeners = [
        lab.listen("ssh").tcp("0.0.0.0:22"),
        lab.listen("web").tcp("0.0.0.0:80"),
    ];
    let scan = client.keep_connecting(&[], &[V4.main(80)]);
    scan.go_on(10);

    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));

    prepared.should_have_left();
    client.connect(V4.main(22)).should_soon_reach("ssh");
    scan.go_on(10);
    scan.should_have_met_no_surprise();
    // It goes on without a process that keeps it, and stays when its leaks go.
    vrfgate.terminate();
    assert_eq!(vrfgate.status()["gate"]["prepared"], true);
    assert_eq!(lab.sysctl(TCP), "1");
}

fn an_agent_takes_a_prepared_gate_over_and_leaves_it_when_nothing_is_asked_for() {
    // An agent follows its object; here, the copy that an earlier agent has saved.
    let lab = Lab::new();
    let node = CniNode::new();
    let program = |arguments: &[&str]| {
        let mut command = std::process::Command::new(vrfgate_e2e::program());
        command
            .args(arguments)
            .arg("--bpffs")
            .arg(node.path("bpf"))
            .arg("--run-dir")
            .arg(node.path("run"));
        lab.output(&mut command)
    };
    let _blue = lab.vrf("BLUE");
    let _ = program(&["run", "--prepare", "--once"]);
    let pair = share_by_reuseport(&lab, &V4, 179);
    let agent = node.agent(&lab, &json!({"leaks": [], "pods": [], "podLeaks": []}));
    let _red = lab.vrf("RED");
    let gate = || program(&["status", "-o", "json"]);
    soon("the agent follows", || gate().contains("\"RED\""));
    assert_eq!(lab.sysctl(TCP), "1");
    agent.kill();
    assert!(gate().contains("\"prepared\": true"), "{}", gate());
    assert_eq!(lab.sysctl(TCP), "1");
    drop(pair);
    let _ = program(&["clear"]);
    assert_eq!(lab.sysctl(TCP), "0");
}

fn preparing_leaves_rules_that_are_in_force_alone() {
    let (lab, client) = V4.one_vrf();
    let _ssh = lab.listen("ssh").tcp(V4.any(22));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
    for arguments in [&["run", "--prepare", "--once"][..], &["run", "--prepare"]] {
        let output = vrfgate.call(arguments);
        assert!(output.status.success(), "{}", complaint(&output));
    }
    client.connect(V4.main(22)).should_reach("ssh");
    assert_eq!(vrfgate.status()["gate"]["prepared"], true);
}

fn clear_takes_a_prepared_gate_away() {
    let lab = Lab::new();
    let vrfgate = lab.vrfgate();
    let mut prepared = Prepared::start(&lab, &vrfgate);
    vrfgate.clear();
    prepared.should_have_left();
    assert_eq!(lab.sysctl(TCP), "0");
    assert!(!vrfgate.pins().exists());

    // As systemd stops it: the gate stays.
    let mut prepared = Prepared::start(&lab, &vrfgate);
    let pid = i32::try_from(prepared.child.id()).unwrap_or_default();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap_or_else(|error| panic!("{error}"));
    prepared.should_have_left();
    assert_eq!(lab.sysctl(TCP), "1");
    vrfgate.clear();
}

/// FRR's daemons bind with `SO_REUSEPORT`.
fn bgpd_in_main_and_in_a_vrf_behind_a_prepared_gate_lives_through_stop_and_restart() {
    let (lab, client) = V4.one_vrf();
    let mut vrfgate = lab.vrfgate();
    let mut prepared = Prepared::start(&lab, &vrfgate);
    let configuration = "router bgp 65000\n bgp router-id 192.0.2.1\n\
         router bgp 65001 vrf BLUE\n bgp router-id 10.0.0.1\n no bgp ebgp-requires-policy\n \
         neighbor 10.0.0.2 remote-as 65002\n neighbor 10.0.0.2 passive\n neighbor 10.0.0.2 timers 3 60\n";
    let theirs = "router bgp 65002\n bgp router-id 10.0.0.2\n no bgp ebgp-requires-policy\n \
         neighbor 10.0.0.1 remote-as 65001\n neighbor 10.0.0.1 timers 3 60\n neighbor 10.0.0.1 timers connect 2\n";
    let leaks = leak(
        "BLUE",
        &format!(
            "services: [{}, {}]",
            service(&V4, "TCP", 22),
            service(&V4, "TCP", 179)
        ),
    );
    for round in 0..2 {
        let bgpd = Bgp::start(&lab, "BLUE", configuration);
        let peer = Bgp::start(&client, "default", theirs);
        bgpd.should_soon_be_up();
        if round == 0 {
            vrfgate.start(&leaks);
            prepared.should_have_left();
            let status = vrfgate.status();
            assert_eq!(status["leaks"][0]["state"], "InForce", "{status:#}");
        }
        // A bgpd ends the connection of an unknown peer; the next comes at once.
        let held: Vec<TcpStream> = (0..200)
            .flat_map(|_| [connect(&client, V4.main(179)), connect(&lab, V4.main(179))])
            .collect();
        bgpd.should_have_stayed_up();
        peer.stop();
        bgpd.stop();
        drop(held);
    }
    let bgpd = Bgp::start(&lab, "BLUE", configuration);
    soon("both listen", || {
        let mut ss = std::process::Command::new("ss");
        ss.args(["-H", "-ltn4", "sport = :179"]);
        lab.output(&mut ss).lines().count() >= 2
    });
    vrfgate.terminate();
    let output = vrfgate.call(&["clear"]);
    let said = complaint(&output);
    assert_eq!(output.status.success(), !is_concerned(), "{said}");
    if is_concerned() {
        assert!(said.contains("TCP port 179"), "{said}");
    }
    bgpd.stop();
    soon("clear goes ahead", || {
        vrfgate.call(&["clear"]).status.success()
    });
    assert_eq!(lab.sysctl(TCP), "0");
    the_kernel_should_be_well();
}

#[track_caller]
fn connect(host: &Host, to: SocketAddr) -> TcpStream {
    let connected = host
        .netns()
        .enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(20)));
    connected.unwrap_or_else(|error| panic!("{host} to {to}: {error}"))
}
