//! What the chart's hooks run, run as the kubelet would: the command of the pod, with the account of the pod.

use std::process::{Command, Output};

use k8s_openapi::api::{apps::v1::DaemonSet, events::v1::Event};
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_blocking};
use vrfgate_cluster::{apply, token};
use vrfgate_operator::api::NodeLeakState;

use super::{by_id, examples::MULTUS, template};
use crate::{
    accounts::NAMESPACE,
    agents::{Agents, report},
    kit::{Kit, delete, eventually, merge, program},
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![
        withdraw_ends_every_leak_and_then_the_agents,
        withdraw_names_the_nodes_that_have_not_let_go_and_ends_nothing_else,
        withdraw_tells_of_networks_that_still_name_the_plugin,
        withdraw_says_when_nobody_is_there_to_take_finalizers_off,
        check_nodes_fails_until_every_node_has_put_its_edition_into_force,
        the_accounts_of_the_jobs_may_do_what_they_need_and_nothing_else,
    ]
}

const JOB: &str = "Job vrfgate-system/vrfgate-withdraw";
const POD: &str = "Pod vrfgate-system/vrfgate-test-nodes";
const BLUE: &str = "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], \
                    services: [{name: ssh, protocol: TCP, port: 22}]";

/// Applies the hooks' accounts and roles, and returns the rest of what the chart is made of.
async fn hooks(suite: &Suite, settings: &[&str]) -> Value {
    let objects = by_id(&template(settings).unwrap());
    let hooks = objects.values().filter(|object| {
        object["metadata"]["annotations"]["helm.sh/hook"].is_string()
            && !["Job", "Pod"].iter().any(|kind| object["kind"] == *kind)
    });
    let manifests: Vec<String> = hooks.map(|object| format!("---\n{object}\n")).collect();
    assert_eq!(
        manifests.len(),
        8,
        "accounts, roles and bindings of two hooks"
    );
    apply(&suite.admin, &manifests.concat()).await.unwrap();
    serde_json::to_value(objects).unwrap()
}

/// What a pod of the chart runs.
async fn run(suite: &Suite, pod: &Value) -> Output {
    let account = pod["serviceAccountName"].as_str().unwrap();
    let token = token(&suite.admin, NAMESPACE, account, None).await.unwrap();
    let kubeconfig = {
        let cluster = suite.cluster.lock().unwrap();
        cluster.write_token_kubeconfig(account, &token).unwrap()
    };
    let container = &pod["containers"][0];
    let words = ["command", "args"].map(|list| container[list].as_array().unwrap().clone());
    let words: Vec<String> = words
        .concat()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words[0], "/vrfgate");
    spawn_blocking(move || {
        Command::new(program("vrfgate"))
            .args(&words[1..])
            .env("KUBECONFIG", kubeconfig)
            .output()
            .unwrap()
    })
    .await
    .unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The garbage collector of Kubernetes, for a `DaemonSet` without pods. It ends with the value.
struct Collector(JoinHandle<()>);

impl Collector {
    fn start(client: &Client) -> Self {
        let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
        Self(tokio::spawn(async move {
            loop {
                if let Ok(Some(set)) = sets.get_opt("vrfgate-agent").await
                    && set.metadata.deletion_timestamp.is_some()
                {
                    let nobody = json!({"metadata": {"finalizers": null}});
                    merge(&sets, "vrfgate-agent", nobody).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn agents_of(suite: &Suite) -> Api<DaemonSet> {
    Api::namespaced(suite.admin.clone(), NAMESPACE)
}

async fn withdraw_ends_every_leak_and_then_the_agents(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let objects = hooks(suite, &[]).await;
    let _collector = Collector::start(&suite.admin);
    let agents = Agents::of_all_nodes(&suite.admin);
    let _controller = kit.controller("one").await;
    for node in ["one", "two"] {
        kit.node(node, "edge", "192.0.2.1").await;
    }
    kit.leak("blue", BLUE).await;
    kit.leak("red", "vrf: RED").await;
    for leak in ["blue", "red"] {
        kit.condition_becomes(leak, "Ready", "InForce").await;
    }
    let output = run(suite, &objects[JOB]["spec"]["template"]["spec"]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("the agents have ended"),
        "{}",
        said(&output)
    );
    assert!(
        kit.leaks
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        agents_of(suite)
            .get_opt("vrfgate-agent")
            .await
            .unwrap()
            .is_none()
    );
    for node in ["one", "two"] {
        let gate = kit.gates.get(node).await.unwrap();
        assert!(gate.spec.leaks.is_empty(), "{gate:?}");
        assert!(gate.status.unwrap().leaks.is_empty());
    }
    // Once more, after all is gone.
    let output = run(suite, &objects[JOB]["spec"]["template"]["spec"]).await;
    assert!(output.status.success(), "{}", said(&output));
    drop(agents);
    crate::accounts::install(&suite.admin).await.unwrap();
}

async fn withdraw_names_the_nodes_that_have_not_let_go_and_ends_nothing_else(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let objects = hooks(suite, &["--set", "uninstall.timeout=3s"]).await;
    let withdraw = &objects[JOB]["spec"]["template"]["spec"];
    let _controller = kit.controller("one").await;
    for node in ["here", "unreachable"] {
        kit.node(node, "edge", "192.0.2.1").await;
    }
    kit.leak("blue", BLUE).await;
    for node in ["here", "unreachable"] {
        kit.gate_becomes(node, &["blue Enforce: ssh 192.0.2.0/24 22"])
            .await;
        let gate = kit.gates.get(node).await.unwrap();
        report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    }
    // One node releases it.
    let first = run(suite, withdraw);
    let lets_go = async {
        kit.gate_becomes("here", &[]).await;
        let gate = kit.gates.get("here").await.unwrap();
        report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    };
    let (first, ()) = tokio::join!(first, lets_go);
    assert!(!first.status.success(), "{}", said(&first));
    let last_line = said(&first).trim_end().lines().last().unwrap().to_owned();
    assert!(
        last_line.contains("after 3s")
            && last_line.contains("blue (nodes that have not released them: unreachable)")
            && last_line.contains("delete its Node"),
        "{last_line}"
    );
    let agents = agents_of(suite).get("vrfgate-agent").await.unwrap();
    assert!(agents.metadata.deletion_timestamp.is_none());

    // As it says.
    delete(&kit.nodes, "unreachable").await;
    let _collector = Collector::start(&suite.admin);
    kit.is_gone("blue").await;
    let second = run(suite, withdraw).await;
    assert!(second.status.success(), "{}", said(&second));
    crate::accounts::install(&suite.admin).await.unwrap();
}

async fn withdraw_tells_of_networks_that_still_name_the_plugin(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let objects = hooks(suite, &[]).await;
    let _collector = Collector::start(&suite.admin);
    apply(&suite.admin, MULTUS).await.unwrap();
    let network = |name: &str, plugin: &str| {
        format!(
            "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\n\
             metadata: {{name: {name}, namespace: default}}\n\
             spec: {{config: '{{\"plugins\": [{{\"type\": \"{plugin}\"}}]}}'}}\n"
        )
    };
    for (name, plugin) in [("ours", "vrfgate"), ("theirs", "bridge")] {
        eventually("the kind is served", async || {
            apply(&suite.admin, &network(name, plugin))
                .await
                .map_err(|error| error.to_string())
        })
        .await;
    }
    let _controller = kit.controller("one").await;
    let output = run(suite, &objects[JOB]["spec"]["template"]["spec"]).await;
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("default/ours") && !said.contains("default/theirs"),
        "{said}"
    );
    let events: Api<Event> = Api::namespaced(suite.admin.clone(), "default");
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let of: Vec<String> = events
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some("PluginUninstalled"))
        .filter_map(|event| event.regarding?.name)
        .collect();
    assert_eq!(of, ["ours"]);
    crate::accounts::install(&suite.admin).await.unwrap();
}

async fn withdraw_says_when_nobody_is_there_to_take_finalizers_off(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let objects = hooks(suite, &["--set", "uninstall.timeout=1s"]).await;
    kit.leak("blue", BLUE).await;
    let held = json!({"metadata": {"finalizers": ["vrfgate.dev/nodes-let-go"]}});
    merge(&kit.leaks, "blue", held).await;
    let output = run(suite, &objects[JOB]["spec"]["template"]["spec"]).await;
    assert!(!output.status.success());
    assert!(
        said(&output).contains("does a controller run"),
        "{}",
        said(&output)
    );
}

async fn check_nodes_fails_until_every_node_has_put_its_edition_into_force(suite: &Suite) {
    let kit = Kit::new(suite).await;
    let objects = hooks(suite, &["--set", "tests.timeout=1s"]).await;
    let check = &objects[POD]["spec"];
    let output = run(suite, check).await;
    assert!(!output.status.success() && said(&output).contains("there is no VrfGateNode"));

    let controller = kit.controller("one").await;
    for node in ["one", "two"] {
        kit.node(node, "edge", "192.0.2.1").await;
    }
    kit.leak("blue", BLUE).await;
    for node in ["one", "two"] {
        kit.gate_becomes(node, &["blue Enforce: ssh 192.0.2.0/24 22"])
            .await;
    }
    let gate = kit.gates.get("one").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::InForce, &[]).await;
    let output = run(suite, check).await;
    let says = said(&output);
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(says.contains("agent has not reported yet: two"), "{says}");
    assert!(
        says.contains("put their generation into force: 1"),
        "{says}"
    );

    let gate = kit.gates.get("two").await.unwrap();
    report(&kit.gates, &gate, NodeLeakState::Failed, &["no such thing"]).await;
    kit.condition_becomes("blue", "Ready", "Failed").await;
    let output = run(suite, check).await;
    let says = said(&output);
    assert!(
        !output.status.success() && says.contains("no such thing): two"),
        "{says}"
    );
    assert!(says.contains("VrfLeak blue: Failed: "), "{says}");

    // A VRF that doesn't exist yet is no failure.
    report(&kit.gates, &gate, NodeLeakState::Waiting, &[]).await;
    kit.condition_becomes("blue", "Ready", "Waiting").await;
    let output = run(suite, check).await;
    let says = said(&output);
    assert!(output.status.success(), "{says}");
    assert!(
        says.contains("put their generation into force: 2"),
        "{says}"
    );

    // A newer generation that no agent has reported.
    merge(&kit.leaks, "blue", json!({"spec": {"mode": "Audit"}})).await;
    controller.looks_again().await;
    eventually("a newer edition", async || match kit.gate("two").await {
        Some(leaks) if leaks[0].contains("Audit") => Ok(()),
        other => Err(other),
    })
    .await;
    let output = run(suite, check).await;
    let says = said(&output);
    assert!(
        !output.status.success() && says.contains("newest generation: one, two"),
        "{says}"
    );
}

async fn the_accounts_of_the_jobs_may_do_what_they_need_and_nothing_else(suite: &Suite) {
    let objects = hooks(suite, &[]).await;
    let rules = |id: &str| objects[id]["rules"].clone();
    assert_eq!(
        rules("ClusterRole vrfgate-withdraw"),
        json!([
            {"apiGroups": ["vrfgate.dev"], "resources": ["vrfleaks"], "verbs": ["list", "delete"]},
            {"apiGroups": ["vrfgate.dev"], "resources": ["vrfgatenodes"], "verbs": ["list"]},
            {"apiGroups": ["k8s.cni.cncf.io"], "resources": ["network-attachment-definitions"], "verbs": ["list"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        ])
    );
    assert_eq!(
        rules("ClusterRole vrfgate-test"),
        json!([
            {"apiGroups": ["vrfgate.dev"], "resources": ["vrfleaks", "vrfgatenodes"], "verbs": ["list"]},
        ])
    );
    // Helm runs them in this order, and no job before its account is there.
    for (job, account) in [
        (JOB, "ServiceAccount vrfgate-system/vrfgate-withdraw"),
        (POD, "ServiceAccount vrfgate-system/vrfgate-test"),
    ] {
        let weight = |id: &str| -> i32 {
            let annotations = &objects[id]["metadata"]["annotations"];
            let weight = annotations["helm.sh/hook-weight"].as_str().unwrap();
            weight.parse().unwrap()
        };
        assert!(weight(account) < weight(job), "{job}");
    }
    assert_eq!(
        objects[JOB]["metadata"]["annotations"]["helm.sh/hook"],
        "pre-delete"
    );
}
