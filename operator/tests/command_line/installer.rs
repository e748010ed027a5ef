//! An agent that keeps the CNI plugin and its entry in their places. There is no API server here: that needs none.

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use vrfgate_sandbox::{Started, soon};

use crate::{
    install::{KINDNET, Node, OURS},
    metrics::{free_address, get},
    sandbox::{Running, Sandbox},
};

/// An agent on a node, and where it serves.
struct Agent {
    _sandbox: Sandbox,
    node: Node,
    address: SocketAddr,
    running: Running,
}

impl Agent {
    fn start(node: Node) -> Self {
        let sandbox = Sandbox::new();
        let kubeconfig = "
apiVersion: v1
kind: Config
current-context: nobody
clusters: [{name: nobody, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: nobody, user: {token: none}}]
contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}]
";
        fs::write(sandbox.path("kubeconfig"), kubeconfig).unwrap();
        let address = free_address();
        let mut command = sandbox.command("agent");
        command
            .env("KUBECONFIG", sandbox.path("kubeconfig"))
            .args(["--node-name", "a", "--cni-chain", "kindnet"])
            .args(["--metrics-addr", &address.to_string()])
            .arg("--cni-bin-dir")
            .arg(node.path("bin"))
            .arg("--cni-conf-dir")
            .arg(node.path("net.d"))
            .arg("--cni-plugin")
            .arg(node.path("vrfgate-cni"))
            .stderr(Stdio::null());
        let running = Running(command.started().unwrap());
        Self {
            _sandbox: sandbox,
            node,
            address,
            running,
        }
    }

    fn unready(&self) -> Option<String> {
        get(self.address, "/readyz")
    }

    /// The entry is there and nothing is said against it, but for what needs an API server.
    fn is_content(&self) -> bool {
        let entry = self.node.read("10-kindnet.conflist").contains(OURS);
        let unready = self.unready().unwrap_or_default();
        let (_, reasons) = unready.split_once("\r\n\r\n").unwrap_or_default();
        entry && reasons.contains("not known yet") && reasons.lines().count() == 1
    }

    fn writes(&self) -> u32 {
        let metrics = get(self.address, "/metrics").unwrap_or_default();
        let name = "vrfgate_agent_cni_writes_total{what=\"chain\"} ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// As a primary plugin does: at once.
    fn primary_writes(&self, list: &str) {
        self.node.write("new", list);
        let [new, list] =
            ["new", "10-kindnet.conflist"].map(|name| self.node.path("net.d").join(name));
        fs::rename(new, list).unwrap();
    }
}

#[test]
fn an_agent_waits_for_the_primary_plugin_and_puts_the_entry_back_that_it_has_lost() {
    let node = Node::new();
    fs::remove_dir(node.path("net.d")).unwrap();
    let mut agent = Agent::start(node);
    soon("it installs the plugin and waits for the list", || {
        let unready = agent.unready().unwrap_or_default();
        agent.node.installed().exists() && unready.contains("net.d")
    });
    fs::create_dir(agent.node.path("net.d")).unwrap();
    soon("it says which list it waits for", || {
        let unready = agent.unready().unwrap_or_default();
        unready.contains("is that of network kindnet") && unready.contains("HTTP/1.0 503")
    });
    agent.primary_writes(KINDNET);
    soon("the entry comes with the list", || agent.is_content());
    let first = agent.node.read("10-kindnet.conflist");

    agent.primary_writes(KINDNET);
    soon("it comes back after the list was written anew", || {
        agent.is_content()
    });
    agent.node.write("10-kindnet.conflist", "");
    soon("half a list is told", || {
        agent
            .unready()
            .unwrap_or_default()
            .contains("10-kindnet.conflist, which is no JSON")
    });
    agent.node.write("10-kindnet.conflist", KINDNET);
    soon("it comes back after the list was written in place", || {
        agent.is_content()
    });
    assert_eq!(agent.node.read("10-kindnet.conflist"), first);
    assert_eq!(agent.writes(), 3);

    fs::remove_file(agent.node.installed()).unwrap();
    soon("so does the plugin", || agent.node.installed().exists());
    fs::write(agent.node.installed(), "#!/bin/sh\n").unwrap();
    soon("another program in its place is told", || {
        agent
            .unready()
            .unwrap_or_default()
            .contains("is another program")
    });
    fs::remove_file(agent.node.installed()).unwrap();
    soon("it is content again", || agent.is_content());

    // Nobody has said which DaemonSet it is of.
    let agent_id = Pid::from_raw(agent.running.0.id().try_into().unwrap());
    kill(agent_id, Signal::SIGTERM).unwrap();
    assert!(agent.running.0.wait().unwrap().success());
    assert_eq!(agent.node.everything(), ["10-kindnet.conflist", "vrfgate"]);
    assert_eq!(agent.node.read("10-kindnet.conflist"), first);
}

#[test]
fn an_agent_that_somebody_fights_says_so_and_does_not_loop() {
    let node = Node::new();
    node.write("10-kindnet.conflist", KINDNET);
    let agent = Agent::start(node);
    soon("the entry is there", || agent.is_content());
    // Never while it looks away: it looks a tenth of a second after the last change.
    let end = Instant::now() + Duration::from_secs(10);
    let mut lost = 0;
    while Instant::now() < end {
        if agent.node.read("10-kindnet.conflist").contains(OURS) {
            lost += 1;
            agent.primary_writes(KINDNET);
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(lost, 5, "as many as are no fight yet");
    assert_eq!(agent.writes(), 5);
    let unready = agent.unready().unwrap();
    assert!(unready.starts_with("HTTP/1.0 503"), "{unready}");
    assert!(
        unready.contains("takes our CNI chain away again and again"),
        "{unready}"
    );
    let metrics = get(agent.address, "/metrics").unwrap();
    for line in [
        "contested{what=\"chain\"} 1",
        "in_place{what=\"chain\"} 0",
        "in_place{what=\"plugin\"} 1",
    ] {
        assert!(
            metrics.contains(&format!("vrfgate_agent_cni_{line}\n")),
            "{metrics}"
        );
    }
}

#[test]
fn flags_of_installing_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::new();
    for (arguments, mistake) in [
        (vec!["--cni-chain", "kindnet"], "--cni-bin-dir"),
        (vec!["--daemon-set", "a/b"], "--cni-bin-dir"),
        (
            vec!["--cni-bin-dir", "/nowhere", "--daemon-set", "a"],
            "must be NAMESPACE/NAME",
        ),
        (
            vec![
                "--cni-bin-dir",
                "/nowhere",
                "--cni-chain",
                "a",
                "--cni-chain-config",
                "{\"vrf\": 1}",
            ],
            "--cni-chain-config <JSON>': vrf: invalid type",
        ),
    ] {
        let output = sandbox
            .command("agent")
            .args(["--node-name", "a"])
            .args(&arguments)
            .finished();
        let output = output.unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(mistake), "{arguments:?}: {said}");
    }
}
