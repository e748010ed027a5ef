//! Leaks for pods, from the controller's side.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    accounts::NAMESPACE,
    agents::Agents,
    kit::{Kit, create, delete, eventually, merge},
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![
        a_leak_for_pods_reaches_the_nodes_of_those_it_selects_and_follows_their_labels,
        a_leak_for_pods_selects_by_namespace_and_leaves_with_the_leak,
        pods_that_share_the_nodes_network_are_none_of_its_pods,
        a_leak_for_pods_refers_to_no_service,
    ]
}

const UPF: &str = "vrf: BLUE, services: [{name: http, protocol: TCP, port: 8080, addresses: [0.0.0.0/0]}], \
                   pods: {podSelector: {matchLabels: {app: upf}}";

struct Pods(Api<Pod>);

impl Pods {
    fn of(suite: &Suite) -> Self {
        Self(Api::namespaced(suite.admin.clone(), NAMESPACE))
    }

    async fn create(&self, name: &str, node: &str, app: &str, host_network: bool) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {
                "nodeName": node, "hostNetwork": host_network, "serviceAccountName": "vrfgate-agent",
                "containers": [{"name": "upf", "image": "none"}],
            },
        });
        create(&self.0, pod).await;
    }

    /// No kubelet is here to end it.
    async fn delete(&self, name: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        self.0.delete(name, &at_once).await.unwrap();
    }
}

/// Waits until a node is asked for exactly these pods, each as `name: leaks`.
async fn pods_become(kit: &Kit<'_>, node: &str, wanted: &[&str]) {
    eventually(&format!("the pods of {node}"), async || {
        let gate = kit.gates.get_opt(node).await.unwrap();
        let spec = gate.map(|gate| gate.spec).unwrap_or_default();
        let pods: Vec<String> = spec
            .pods
            .iter()
            .map(|pod| format!("{}: {}", pod.name, pod.leaks.join(" ")))
            .collect();
        if pods == wanted {
            Ok(())
        } else {
            Err(format!("{pods:?} instead of {wanted:?}"))
        }
    })
    .await;
}

async fn a_leak_for_pods_reaches_the_nodes_of_those_it_selects_and_follows_their_labels(
    suite: &Suite,
) {
    let kit = Kit::new(suite).await;
    let _agents = Agents::of_all_nodes(&suite.admin);
    let _controller = kit.controller("one").await;
    let pods = Pods::of(suite);
    kit.node("edge", "edge", "192.0.2.1").await;
    kit.node("core", "core", "192.0.2.2").await;
    kit.leak("upf", &format!("{UPF}}}")).await;
    kit.condition_becomes("upf", "Ready", "NoPods").await;

    pods.create("a", "edge", "upf", false).await;
    pods.create("b", "edge", "web", false).await;
    pods_become(&kit, "edge", &["a: upf"]).await;
    pods_become(&kit, "core", &[]).await;
    kit.gate_becomes("edge", &[]).await;
    kit.condition_becomes("upf", "Ready", "InForce").await;
    let status = kit.leaks.get("upf").await.unwrap().status.unwrap();
    assert_eq!(status.nodes.unwrap().summary, "1/1");

    let label = |app: Option<&str>| json!({"metadata": {"labels": {"app": app}}});
    merge(&pods.0, "b", label(Some("upf"))).await;
    pods_become(&kit, "edge", &["a: upf", "b: upf"]).await;
    merge(&pods.0, "a", label(None)).await;
    pods_become(&kit, "edge", &["b: upf"]).await;
    pods.delete("b").await;
    pods_become(&kit, "edge", &[]).await;
    let gate = kit.gates.get("edge").await.unwrap();
    assert!(gate.spec.pod_leaks.is_empty(), "{:?}", gate.spec);
    kit.condition_becomes("upf", "Ready", "NoPods").await;
}

async fn a_leak_for_pods_selects_by_namespace_and_leaves_with_the_leak(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _agents = Agents::of_all_nodes(&suite.admin);
    let _controller = kit.controller("one").await;
    let pods = Pods::of(suite);
    kit.node("edge", "edge", "192.0.2.1").await;
    pods.create("a", "edge", "upf", false).await;
    let selecting = |namespace: &str| {
        format!(
            "{UPF}, namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}"
        )
    };
    kit.leak("elsewhere", &selecting("default")).await;
    kit.leak("here", &selecting(NAMESPACE)).await;
    pods_become(&kit, "edge", &["a: here"]).await;

    delete(&kit.leaks, "here").await;
    pods_become(&kit, "edge", &[]).await;
    kit.is_gone("here").await;
    pods.delete("a").await;
}

async fn pods_that_share_the_nodes_network_are_none_of_its_pods(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let _controller = kit.controller("one").await;
    let pods = Pods::of(suite);
    kit.node("edge", "edge", "192.0.2.1").await;
    kit.leak("upf", &format!("{UPF}}}")).await;
    pods.create("shares", "edge", "upf", true).await;
    pods.create("has-own", "edge", "upf", false).await;
    pods_become(&kit, "edge", &["has-own: upf"]).await;
    for pod in ["shares", "has-own"] {
        pods.delete(pod).await;
    }
}

async fn a_leak_for_pods_refers_to_no_service(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let spec: Value = json!({
        "vrf": "BLUE", "pods": {},
        "services": [{"name": "web", "serviceRef": {"namespace": "web", "name": "frontend"}}],
    });
    let leak = json!({
        "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfLeak",
        "metadata": {"name": "upf"}, "spec": spec,
    });
    let leak = serde_json::from_value(leak).unwrap();
    let refused = kit.leaks.create(&PostParams::default(), &leak).await;
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("spec.services") && message.contains("serviceRef stands for ports"),
        "{message}"
    );
}
