//! End to end: `VrfLeak`s here, and what the client of a VRF sees in a machine with a real kernel.

use std::{fs, time::Duration};

use http::{Request, header::ACCEPT};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use vrfgate_cluster::HOST_OF_VM;

use crate::{
    accounts,
    kit::{Kit, delete, merge},
    suite::{Suite, Test, tests},
    vm::{Kind, Vm, kubeconfig},
};

pub fn tests() -> Vec<Test> {
    tests![
        a_leak_opens_its_ports_on_a_real_node_and_leaves_it_as_it_was,
        a_real_node_loses_no_connection_while_everything_around_it_is_away,
        a_real_node_whose_agent_was_killed_follows_what_changed_meanwhile,
        a_real_node_that_reboots_opens_what_is_listed_and_nothing_else,
    ]
}

/// The node, and its address.
pub const NODE: &str = "real";
const ADDRESS: &str = "192.0.2.1";

const SSH: &str = "connect to 192.0.2.1:22";
const DNS: &str = "ask 192.0.2.1:53";
const REACHED_SSH: &str = "reached \"ssh\"";
const REACHED_DNS: &str = "reached \"dns\"";
const REFUSED: &str = "was refused";

const LEAK: &str = "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}],
    returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1}],
    services: [{name: ssh, protocol: TCP, port: 22}, {name: dns, protocol: UDP, port: 53}]";

/// The leak without ssh.
fn dns_alone() -> Value {
    json!({"spec": {"services": [{"name": "dns", "protocol": "UDP", "port": 53}]}})
}

/// A node without leaks, whose agent runs, and the cluster around it.
struct Scene<'a> {
    kit: Kit<'a>,
    vm: Vm,
    /// How the node stood before there was any leak.
    before: String,
}

impl<'a> Scene<'a> {
    async fn new(suite: &'a Suite) -> Self {
        let kit = Kit::new(suite).await;
        kit.node(NODE, "edge", ADDRESS).await;
        let mut vm = Vm::boot(Kind::Router).unwrap();
        let before = vm.tell("how does it stand?");
        let mut scene = Self { kit, vm, before };
        scene.start_agent().await;
        scene
    }

    /// As a kubelet would: with a token of its pod.
    async fn start_agent(&mut self) {
        give_agent_a_token(self.kit.suite).await;
        self.vm.tell("start the agent");
    }

    async fn leak(&self) {
        self.kit.leak("blue", LEAK).await;
        self.in_force().await;
    }

    async fn in_force(&self) {
        self.kit.condition_becomes("blue", "Ready", "InForce").await;
    }

    /// Deletes the leak. No port that was never listed was ever open, and nothing of vrfgate is left.
    async fn end(mut self) {
        delete(&self.kit.leaks, "blue").await;
        self.kit.is_gone("blue").await;
        self.vm.soon_sees(SSH, REFUSED);
        assert_eq!(self.vm.tell("how does it stand?"), self.before);
        let attempts: u32 = self.vm.tell("what was open?").parse().unwrap();
        assert!(attempts > 100, "the scanner made {attempts} attempts only");
    }
}

/// Puts the way to the API server where the agent of the machine finds it.
pub async fn give_agent_a_token(suite: &Suite) {
    let token = accounts::agent_token(&suite.admin, NODE).await;
    let config = {
        let cluster = suite.cluster.lock().unwrap();
        cluster.token_kubeconfig_at(HOST_OF_VM, &token)
    };
    fs::write(kubeconfig("agent"), config).unwrap();
}

/// What `kubectl get vleak blue` prints: the API server makes the table, kubectl only aligns it.
async fn kubectl_get(kit: &Kit<'_>, leak: &str) -> String {
    let url = format!("/apis/vrfgate.dev/v1alpha1/vrfleaks/{leak}");
    let request = Request::get(url)
        .header(ACCEPT, "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = kit.suite.admin.request(request).await.unwrap();
    let texts = |list: &Value, of: &dyn Fn(&Value) -> Value| -> Vec<String> {
        let cells = list.as_array().into_iter().flatten().map(of);
        cells
            .map(|cell| cell.as_str().map_or(cell.to_string(), str::to_owned))
            .collect()
    };
    let names = texts(&table["columnDefinitions"], &|column| {
        column["name"].clone()
    });
    let cells = texts(&table["rows"][0]["cells"], &Clone::clone);
    let columns = names.iter().zip(cells);
    // How old it is differs.
    let columns = columns.filter(|(name, _)| *name != "AGE");
    let columns = columns.map(|(name, cell)| format!("{name} {cell}"));
    columns.collect::<Vec<_>>().join(", ")
}

async fn a_leak_opens_its_ports_on_a_real_node_and_leaves_it_as_it_was(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    let _controller = scene.kit.controller("one").await;
    scene.vm.sees(SSH, REFUSED);
    scene.vm.sees(DNS, REFUSED);

    scene.leak().await;
    scene.vm.sees(SSH, REACHED_SSH);
    scene.vm.sees(DNS, REACHED_DNS);
    assert_ne!(scene.vm.tell("how does it stand?"), scene.before);
    assert_eq!(
        kubectl_get(&scene.kit, "blue").await,
        "Name blue, VRF BLUE, MODE Enforce, SERVICES 2, NODES 1/1, READY True"
    );

    merge(&scene.kit.leaks, "blue", dns_alone()).await;
    scene.in_force().await;
    scene.vm.sees(SSH, REFUSED);
    scene.vm.sees(DNS, REACHED_DNS);
    assert_eq!(
        kubectl_get(&scene.kit, "blue").await,
        "Name blue, VRF BLUE, MODE Enforce, SERVICES 1, NODES 1/1, READY True"
    );

    scene.end().await;
}

async fn a_real_node_loses_no_connection_while_everything_around_it_is_away(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    let mut one = scene.kit.controller("one").await;
    scene.leak().await;
    scene.vm.tell("talk to 192.0.2.1:22");
    scene.vm.tell("keep connecting to 192.0.2.1:22");

    // The agent, and then the agent and what it would ask.
    scene.vm.tell("kill the agent");
    scene.vm.tell("start the agent");
    suite
        .away_while(async || {
            let half = Duration::from_secs(30);
            sleep(half).await;
            scene.vm.tell("kill the agent");
            scene.vm.sees(DNS, REACHED_DNS);
            scene.vm.tell("start the agent");
            sleep(half).await;
        })
        .await;
    // The controller: the next one waits until the lease is up.
    one.process.kill();
    let two = scene.kit.controller("two").await;
    two.leads().await;

    let attempts: u32 = scene.vm.tell("stop connecting").parse().unwrap();
    assert!(attempts > 100, "the client made {attempts} attempts only");
    scene.vm.tell("still talk");
    merge(&scene.kit.leaks, "blue", dns_alone()).await;
    scene.in_force().await;
    scene.vm.sees(SSH, REFUSED);
    scene.vm.sees(DNS, REACHED_DNS);
    // Open connections stay open: the gate decides on new ones only.
    scene.vm.tell("still talk");
    scene.end().await;
}

async fn a_real_node_whose_agent_was_killed_follows_what_changed_meanwhile(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    let _controller = scene.kit.controller("one").await;
    scene.leak().await;
    scene.vm.tell("kill the agent");
    merge(&scene.kit.leaks, "blue", dns_alone()).await;
    let message = scene
        .kit
        .condition_becomes("blue", "Ready", "Unreported")
        .await;
    assert!(message.contains(NODE), "{message}");
    scene.vm.sees(SSH, REACHED_SSH);

    scene.vm.tell("start the agent");
    scene.in_force().await;
    scene.vm.sees(SSH, REFUSED);
    scene.end().await;
}

async fn a_real_node_that_reboots_opens_what_is_listed_and_nothing_else(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    let _controller = scene.kit.controller("one").await;
    scene.leak().await;
    scene.vm.sees(SSH, REACHED_SSH);
    let gate = scene.kit.gates.get(NODE).await.unwrap();

    scene.vm = scene.vm.reboot().unwrap();
    scene.vm.sees(SSH, REFUSED);
    assert_eq!(scene.vm.tell("how does it stand?"), scene.before);
    // Nothing from before is left in the machine, so the agent knows it from the API server.
    scene.start_agent().await;
    scene.vm.soon_sees(SSH, REACHED_SSH);
    scene.vm.soon_sees(DNS, REACHED_DNS);
    scene.in_force().await;
    let after = scene.kit.gates.get(NODE).await.unwrap();
    assert_eq!(after.uid(), gate.uid());
    assert_eq!(after.spec, gate.spec);
    scene.end().await;
}
