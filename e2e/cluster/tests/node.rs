//! A real agent, in a network namespace of its own, with a real API server. Specs and statuses need no VRF, so this runs on
//! any kernel; the VRF lab tests what the gate does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use vrfgate_cluster::Process;
use vrfgate_operator::api::NodeLeakState;

use crate::{
    accounts,
    kit::{Kit, delete, eventually, merge, program},
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![
        an_agent_puts_its_own_object_into_force_and_says_so,
        an_agent_starts_and_keeps_without_the_api_server,
        an_agent_keeps_what_it_had_when_its_object_is_deleted,
        an_agent_says_which_leak_it_cannot_read_and_keeps_the_others,
    ]
}

const SSH: &str =
    "vrf: BLUE, services: [{name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]}]";

/// A machine: a network namespace, a BPF file system, a directory for records.
pub struct Machine {
    netns: String,
    pub home: TempDir,
    kubeconfig: PathBuf,
}

impl Machine {
    /// The machine of node `a`.
    pub async fn new(kit: &Kit<'_>, netns: &str) -> Self {
        // A pod is bound to a node that is there.
        kit.node("a", "edge", "192.0.2.1").await;
        let token = accounts::agent_token(&kit.suite.admin, "a").await;
        let cluster = kit.suite.cluster.lock().unwrap();
        let home = TempDir::new_in("/run").unwrap();
        fs::create_dir(home.path().join("bpf")).unwrap();
        let netns = format!("{netns}-{}", std::process::id());
        sh(&["ip", "netns", "add", &netns]);
        let bpffs = home.path().join("bpf").display().to_string();
        sh(&["mount", "-t", "bpf", "bpf", &bpffs]);
        Self {
            netns,
            home,
            kubeconfig: cluster.write_token_kubeconfig("agent", &token).unwrap(),
        }
    }

    fn places(&self) -> Vec<String> {
        let home = self.home.path();
        vec![
            format!("--bpffs={}", home.join("bpf").display()),
            format!("--run-dir={}", home.join("run").display()),
            format!("--netns={}", self.netns),
        ]
    }

    fn agent(&self, node: &str) -> Process {
        self.agent_with(node, &[])
    }

    pub fn agent_with(&self, node: &str, flags: &[String]) -> Process {
        let mut arguments = vec!["agent".to_owned(), format!("--node-name={node}")];
        arguments.extend(self.places());
        arguments.extend_from_slice(flags);
        let environment = [("KUBECONFIG", self.kubeconfig.display().to_string())];
        let home: &Path = self.home.path();
        Process::start("agent", &program("vrfgate"), &arguments, &environment, home).unwrap()
    }

    /// The pins and files there are, but for where the agent listens.
    fn remains(&self) -> Vec<PathBuf> {
        let home = self.home.path();
        let directories = [home.join("bpf/vrfgate"), home.join("run")];
        let entries = directories
            .iter()
            .filter_map(|directory| fs::read_dir(directory).ok());
        let paths = entries.flatten().map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.ends_with("agent.sock")).collect()
    }

    /// What `vrfgate status` says.
    fn status(&self) -> Value {
        let output = Command::new(program("vrfgate"))
            .args(["status", "-o", "json"])
            .args(self.places())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let bpffs = self.home.path().join("bpf");
        let _ = Command::new("umount").arg("-l").arg(bpffs).status();
        let _ = Command::new("ip")
            .args(["netns", "del", &self.netns])
            .status();
    }
}

fn sh(command: &[&str]) {
    let status = Command::new(command[0]).args(&command[1..]).status();
    assert!(status.unwrap().success(), "{command:?}");
}

async fn an_agent_puts_its_own_object_into_force_and_says_so(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let machine = Machine::new(&kit, "own").await;
    let _controller = kit.controller("one").await;
    kit.node("b", "edge", "192.0.2.2").await;
    let mut agent = machine.agent("a");
    kit.leak(
        "blue",
        &format!("{SSH}, nodeSelector: {{matchLabels: {{role: edge}}}}"),
    )
    .await;
    let message = kit.condition_becomes("blue", "Ready", "Unreported").await;
    assert!(message.contains('b'), "{message}");
    kit.relabel("b", "core").await;
    let message = kit.condition_becomes("blue", "Ready", "Waiting").await;
    assert!(message.contains("VRF BLUE on a"), "{message}");
    assert!(
        machine.status().to_string().contains("blue"),
        "{}",
        machine.status()
    );
    agent.check_running().unwrap();

    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    kit.condition_becomes("blue", "Ready", "Waiting").await;
    let gate = kit.gates.get("a").await.unwrap().status.unwrap();
    assert_eq!(gate.leaks[0].state, NodeLeakState::Waiting);
    assert!(
        gate.leaks[0].notes[0].contains("waits for VRF BLUE"),
        "{gate:?}"
    );

    // The finalizer goes once the agent has released the leak; the machine is then as it was.
    assert!(!machine.remains().is_empty());
    delete(&kit.leaks, "blue").await;
    kit.is_gone("blue").await;
    let remains = machine.remains();
    assert!(remains.is_empty(), "{remains:?}, {}", machine.status());
}

async fn an_agent_starts_and_keeps_without_the_api_server(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let machine = Machine::new(&kit, "away").await;
    let controller = kit.controller("one").await;
    kit.leak("blue", SSH).await;
    let mut agent = machine.agent("a");
    kit.condition_becomes("blue", "Ready", "Waiting").await;

    suite
        .away_while(async || {
            agent.kill();
            // The status shows what is in force, before and after.
            assert!(machine.status().to_string().contains("blue"));
            agent = machine.agent("a");
            eventually("the agent's start without the API server", async || {
                let words = agent.last_words();
                if words.contains("taking over what was in force") {
                    Ok(())
                } else {
                    Err(words)
                }
            })
            .await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            agent.check_running().unwrap();
            assert!(machine.status().to_string().contains("blue"));
        })
        .await;

    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    kit.gate_becomes("a", &["blue Audit: ssh 192.0.2.1/32 22"])
        .await;
    kit.condition_becomes("blue", "Ready", "Waiting").await;
    drop(controller);
}

async fn an_agent_keeps_what_it_had_when_its_object_is_deleted(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let machine = Machine::new(&kit, "deleted").await;
    let mut controller = kit.controller("one").await;
    kit.leak("blue", SSH).await;
    let agent = machine.agent("a");
    kit.condition_becomes("blue", "Ready", "Waiting").await;
    controller.process.stop();
    delete(&kit.gates, "a").await;
    eventually("the agent's word on it", async || {
        let words = agent.last_words();
        if words.contains("what is in force stays") {
            Ok(())
        } else {
            Err(words)
        }
    })
    .await;
    assert!(machine.status().to_string().contains("blue"));

    // The controller makes it again, and the agent reports on it again.
    let _controller = kit.controller("two").await;
    eventually("the status of the new object", async || {
        let gate = kit.gates.get_opt("a").await.unwrap();
        let status = gate.and_then(|gate| gate.status);
        status
            .filter(|status| status.leaks.len() == 1)
            .ok_or("none yet")
    })
    .await;
}

async fn an_agent_says_which_leak_it_cannot_read_and_keeps_the_others(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let machine = Machine::new(&kit, "unread").await;
    let _agent = machine.agent("a");
    let leak = |name: &str, mode: &str| json!({"name": name, "generation": 1, "vrf": name, "mode": mode, "replies": "Route"});
    let gate = json!({
        "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfGateNode", "metadata": {"name": "a"},
        "spec": {"leaks": [leak("good", "Audit"), leak("new", "Invented")]},
    });
    let parameters = PatchParams::apply("test");
    kit.gates
        .patch("a", &parameters, &Patch::Apply(gate))
        .await
        .unwrap();
    let status = eventually("the agent's word on it", async || {
        let status = kit.gates.get("a").await.unwrap().status;
        status.ok_or("nothing said yet")
    })
    .await;
    assert_eq!(status.leaks[0].state, NodeLeakState::Waiting);
    assert_eq!(status.leaks[1].state, NodeLeakState::Failed);
    assert!(status.leaks[1].notes[0].contains("spec.mode"), "{status:?}");
    assert_eq!(status.conditions[0].status, "False");
}
