//! End to end: pods that a real kubelet and containerd run in a machine with a real kernel, and what a client in the
//! network of their VRF sees.

use std::fs;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use vrfgate_cluster::HOST_OF_VM;
use vrfgate_operator::api::NodeLeakState;

use crate::{
    accounts::NAMESPACE,
    kit::{Kit, create, delete, eventually, merge},
    real_node::{NODE, give_agent_a_token},
    suite::{Suite, Test, tests},
    vm::{Kind, Vm, kubeconfig, said},
};

pub fn tests() -> Vec<Test> {
    tests![
        a_pod_of_a_kubelet_serves_the_listed_port_to_its_vrf_and_leaves_nothing,
        leaks_reach_a_running_pod_of_a_kubelet_and_an_agent_that_was_killed_catches_up,
        a_kubelet_without_bpffs_is_not_ready_and_says_why_until_it_is_mended,
        a_pod_that_was_deleted_while_its_kubelet_was_off_leaves_nothing,
        a_pod_that_the_runtime_of_a_kubelet_has_forgotten_is_collected_by_the_agent,
    ]
}

pub const SERVED: &str = "reached \"served\"";
const REFUSED: &str = "was refused";

/// The port that the network configuration lists.
pub const LISTED: u16 = 8080;

/// A leak for pods of `upf` that opens one more port.
pub fn opening(port: u16) -> String {
    format!(
        "vrf: BLUE, pods: {{podSelector: {{matchLabels: {{app: upf}}}}}},
         services: [{{name: more, protocol: TCP, port: {port}, addresses: [0.0.0.0/0]}}]"
    )
}

/// A node that is ready for pods and has none, and the cluster around it.
struct Scene<'a> {
    kit: Kit<'a>,
    pods: Api<Pod>,
    vm: Vm,
    /// How the node stood before there was any pod.
    before: String,
}

impl<'a> Scene<'a> {
    /// The machine is that of the last test, unless it failed.
    async fn new(suite: &'a Suite) -> Self {
        let kit = Kit::new(suite).await;
        let last = suite.worker.lock().unwrap().take();
        let vm = last.unwrap_or_else(|| Vm::boot(Kind::Worker).unwrap());
        let mut scene = Self {
            pods: Api::namespaced(suite.admin.clone(), NAMESPACE),
            before: String::new(),
            kit,
            vm,
        };
        // The agent's token is that of a pod on a node that is there.
        scene.kit.node(NODE, "edge", "10.0.2.15").await;
        give_agent_a_token(suite).await;
        let config = {
            let cluster = suite.cluster.lock().unwrap();
            let node = cluster.user(&format!("system:node:{NODE}"), "system:nodes");
            cluster.kubeconfig_at(HOST_OF_VM, &node.unwrap())
        };
        fs::write(kubeconfig("kubelet"), config).unwrap();
        scene.vm.tell("start the kubelet");
        scene.ready_becomes("True").await;
        scene.before = scene.vm.tell("how does it stand?");
        scene
    }

    /// Waits until the node is ready, or isn't, and returns why.
    async fn ready_becomes(&self, wanted: &str) -> String {
        eventually("whether the node is ready", async || {
            let node = self.kit.nodes.get(NODE).await.unwrap();
            let conditions = node.status.unwrap_or_default().conditions;
            let conditions = conditions.unwrap_or_default();
            let ready = conditions.iter().find(|one| one.type_ == "Ready");
            match ready {
                Some(ready) if ready.status == wanted => {
                    Ok(ready.message.clone().unwrap_or_default())
                }
                other => Err(format!("{other:?}\n{}", said())),
            }
        })
        .await
    }

    /// Has the kubelet run a [`web_server`], and returns its address.
    async fn run_pod(&self, name: &str, app: &str) -> String {
        create(&self.pods, web_server(name, app)).await;
        starts(&self.pods, name).await
    }

    /// Deletes a pod, and waits until the kubelet has taken it down.
    async fn end_pod(&self, name: &str) {
        delete(&self.pods, name).await;
        eventually(&format!("the end of {name}"), async || {
            match self.pods.get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(pod) => Err(format!("{:?}\n{}", pod.status, said())),
            }
        })
        .await;
    }

    /// Waits until nothing of any pod is left on the node.
    async fn nothing_is_left(&mut self) {
        let (vm, before) = (&mut self.vm, &self.before);
        eventually("a node as it was before", async || {
            let now = vm.tell("how does it stand?");
            if now == *before {
                Ok(())
            } else {
                Err(format!("{now}\ninstead of\n{before}\n{}", said()))
            }
        })
        .await;
    }

    /// Waits until exactly these pods have this leak in force, says the node.
    async fn leak_is_in_force_in(&self, leak: &str, wanted: &[&str]) {
        eventually(&format!("{leak} in the status of {NODE}"), async || {
            let gate = self.kit.gates.get(NODE).await.unwrap();
            let status = gate.status.unwrap_or_default();
            let holds = |outcome: &std::sync::Arc<vrfgate_operator::api::LeakOutcome>| {
                outcome.name == leak && outcome.state == NodeLeakState::InForce
            };
            let pods: Vec<&str> = status
                .pods
                .iter()
                .filter(|pod| pod.leaks.iter().any(holds))
                .map(|pod| pod.name.as_str())
                .collect();
            let is_new = status.observed_generation == gate.metadata.generation;
            if is_new && pods == wanted {
                Ok(())
            } else {
                Err(format!("{:?}", status.pods))
            }
        })
        .await;
    }

    /// Nothing is left, and the next test may have the machine.
    async fn end(mut self) {
        self.nothing_is_left().await;
        *self.kit.suite.worker.lock().unwrap() = Some(self.vm);
    }
}

/// A pod with an unmodified web server on some ports of 0.0.0.0.
pub fn web_server(name: &str, app: &str) -> Value {
    let serve = "/bin/busybox httpd -h /www -p";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "nodeName": NODE, "automountServiceAccountToken": false, "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "web", "image": "vrfgate.test/busybox:1", "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", format!(
                    "{serve} 0.0.0.0:7070 && {serve} 0.0.0.0:9090 && exec {serve} 0.0.0.0:{LISTED} -f"
                )],
            }],
        },
    })
}

/// Waits until the one container of a pod runs, and returns the pod's address.
pub async fn starts(pods: &Api<Pod>, name: &str) -> String {
    eventually(&format!("the start of {name}"), async || {
        let status = pods.get(name).await.unwrap().status;
        let status = status.unwrap_or_default();
        let containers = status.container_statuses.iter().flatten();
        let running = containers.filter(|container| container.ready).count() == 1;
        match status.pod_ip {
            Some(address) if running => Ok(address),
            address => Err(format!("{address:?}, running: {running}\n{}", said())),
        }
    })
    .await
}

pub fn browse(address: &str, port: u16) -> String {
    format!("browse {address}:{port}")
}

async fn a_pod_of_a_kubelet_serves_the_listed_port_to_its_vrf_and_leaves_nothing(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    let address = scene.run_pod("a", "upf").await;
    scene.vm.soon_sees(&browse(&address, LISTED), SERVED);
    scene.vm.sees(&browse(&address, 9090), REFUSED);
    assert_ne!(scene.vm.tell("how does it stand?"), scene.before);

    scene.end_pod("a").await;
    scene.end().await;
}

async fn leaks_reach_a_running_pod_of_a_kubelet_and_an_agent_that_was_killed_catches_up(
    suite: &Suite,
) {
    let mut scene = Scene::new(suite).await;
    let _controller = scene.kit.controller("one").await;
    scene.vm.tell("start the agent");
    let address = scene.run_pod("a", "upf").await;
    let [listed, nine, seven] = [LISTED, 9090, 7070].map(|port| browse(&address, port));
    scene.vm.soon_sees(&listed, SERVED);
    scene.vm.sees(&nine, REFUSED);

    scene.kit.leak("more", &opening(9090)).await;
    scene
        .kit
        .condition_becomes("more", "Ready", "InForce")
        .await;
    scene.vm.sees(&nine, SERVED);
    scene.vm.sees(&seven, REFUSED);
    scene.leak_is_in_force_in("more", &["a"]).await;

    let edit = |port| json!({"spec": serde_saphyr::from_str::<serde_json::Value>(&format!("{{{}}}", opening(port))).unwrap()});
    merge(&scene.kit.leaks, "more", edit(7070)).await;
    scene
        .kit
        .condition_becomes("more", "Ready", "InForce")
        .await;
    scene.vm.sees(&nine, REFUSED);
    scene.vm.sees(&seven, SERVED);

    // What changes while the agent isn't there to see.
    scene.vm.tell("kill the agent");
    merge(&scene.kit.leaks, "more", edit(9090)).await;
    scene
        .kit
        .condition_becomes("more", "Ready", "Unreported")
        .await;
    scene.vm.sees(&seven, SERVED);
    scene.vm.tell("start the agent");
    scene
        .kit
        .condition_becomes("more", "Ready", "InForce")
        .await;
    scene.vm.sees(&seven, REFUSED);
    scene.vm.sees(&nine, SERVED);

    let label = |app: &str| json!({"metadata": {"labels": {"app": app}}});
    merge(&scene.pods, "a", label("other")).await;
    scene.vm.soon_sees(&nine, REFUSED);
    scene.leak_is_in_force_in("more", &[]).await;
    merge(&scene.pods, "a", label("upf")).await;
    scene.vm.soon_sees(&nine, SERVED);
    scene.leak_is_in_force_in("more", &["a"]).await;
    scene.vm.tell("kill the agent");
    merge(&scene.pods, "a", label("other")).await;
    scene.vm.tell("start the agent");
    scene.vm.soon_sees(&nine, REFUSED);
    // What the network configuration opens is none of all that.
    scene.vm.sees(&listed, SERVED);

    scene.end_pod("a").await;
    delete(&scene.kit.leaks, "more").await;
    scene.kit.is_gone("more").await;
    scene.nothing_is_left().await;
    scene.vm.tell("kill the agent");
    scene.end().await;
}

async fn a_kubelet_without_bpffs_is_not_ready_and_says_why_until_it_is_mended(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    scene.vm.tell("unmount bpffs");
    let why = scene.ready_becomes("False").await;
    assert!(
        why.contains("vrfgate is not available on this node") && why.contains("/sys/fs/bpf"),
        "{why}"
    );
    scene.vm.tell("mount bpffs");
    scene.ready_becomes("True").await;
    scene.end().await;
}

async fn a_pod_that_was_deleted_while_its_kubelet_was_off_leaves_nothing(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    let address = scene.run_pod("a", "upf").await;
    scene.vm.soon_sees(&browse(&address, LISTED), SERVED);
    scene.vm.tell("crash the kubelet");
    delete(&scene.pods, "a").await;
    assert_ne!(scene.vm.tell("how does it stand?"), scene.before);

    // The runtime remembers the pod, and calls DEL once the kubelet knows that the pod is deleted.
    scene.vm.tell("start the kubelet");
    scene.end().await;
}

async fn a_pod_that_the_runtime_of_a_kubelet_has_forgotten_is_collected_by_the_agent(
    suite: &Suite,
) {
    let mut scene = Scene::new(suite).await;
    let address = scene.run_pod("a", "upf").await;
    scene.vm.soon_sees(&browse(&address, LISTED), SERVED);
    scene.vm.tell("crash the kubelet");
    scene.vm.tell("forget the pods");
    let at_once = DeleteParams::default().grace_period(0);
    scene.pods.delete("a", &at_once).await.unwrap();
    scene.vm.tell("start the kubelet");
    scene.ready_becomes("True").await;
    // containerd calls DEL only for pods that it remembers, and never calls GC.
    let left = scene.vm.tell("how does it stand?");
    assert!(left.contains("/run/vrfgate/cni/blue:"), "{left}");

    scene.vm.tell("start the agent");
    scene.nothing_is_left().await;
    scene.vm.tell("kill the agent");
    scene.end().await;
}
