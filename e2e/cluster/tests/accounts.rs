//! The accounts of the Helm chart: with them run all controllers and agents of these tests, so they suffice; and
//! what they may not do.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::{
    Api, Client, Config, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use vrfgate_cluster::{apply, token};
use vrfgate_operator::api::{VrfGateNode, VrfLeak};

use crate::{
    chart,
    kit::{Kit, eventually},
    suite::{Suite, Test, tests},
};

/// Where vrfgate runs.
pub const NAMESPACE: &str = "vrfgate-system";

pub fn tests() -> Vec<Test> {
    tests![
        an_agent_may_write_the_status_of_its_own_node_and_nothing_else,
        the_controller_may_not_read_what_it_does_not_need,
    ]
}

/// As `helm template | kubectl apply -f -` does, without the objects of hooks: no pod runs here.
pub async fn install(admin: &Client) -> anyhow::Result<()> {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    apply(admin, &namespace).await?;
    apply(admin, &chart::template(&["--no-hooks"])?).await
}

/// A token of the controller's account.
pub async fn controller_token(admin: &Client) -> String {
    token(admin, NAMESPACE, "vrfgate-controller", None)
        .await
        .unwrap()
}

/// The token that the kubelet of `node` gives to the agent's pod there.
pub async fn agent_token(admin: &Client, node: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), NAMESPACE);
    let name = format!("agent-{node}");
    let pod: Pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "serviceAccountName": "vrfgate-agent",
            "containers": [{"name": "agent", "image": "none"}],
        },
    }))
    .unwrap();
    match pods.create(&PostParams::default(), &pod).await {
        Err(Error::Api(status)) if status.code == 409 => {}
        created => drop(created.unwrap()),
    }
    // The agent is a process of the test's; a real kubelet shall not run this pod as well.
    let over = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    let pod = pods
        .patch_status(&name, &PatchParams::default(), &over)
        .await
        .unwrap();
    token(admin, NAMESPACE, "vrfgate-agent", Some(&pod))
        .await
        .unwrap()
}

/// A client with a token.
async fn client(suite: &Suite, name: &str, token: &str) -> Client {
    let path = {
        let cluster = suite.cluster.lock().unwrap();
        cluster.write_token_kubeconfig(name, token).unwrap()
    };
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn code<T>(result: Result<T, Error>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

async fn an_agent_may_write_the_status_of_its_own_node_and_nothing_else(suite: &Suite) {
    let kit = Kit::new(suite).await;
    for node in ["mine", "other"] {
        kit.node(node, "edge", "192.0.2.1").await;
        let gate = VrfGateNode::new(node, vrfgate_operator::api::VrfGateNodeSpec::default());
        kit.gates
            .create(&PostParams::default(), &gate)
            .await
            .unwrap();
    }
    let own = agent_token(&suite.admin, "mine").await;
    let agent = client(suite, "agent", &own).await;
    let gates: Api<VrfGateNode> = Api::all(agent.clone());
    let status = Patch::Merge(json!({"status": {"agentVersion": "1"}}));
    let parameters = PatchParams::default();
    // The policy takes a moment until it is in force.
    eventually("the refusal of another node's status", async || match gates
        .patch_status("other", &parameters, &status)
        .await
    {
        Err(Error::Api(status)) if status.message.contains("node mine may write") => Ok(()),
        other => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(format!("{other:?}"))
        }
    })
    .await;
    assert_eq!(
        code(gates.patch_status("mine", &parameters, &status).await),
        200
    );
    let spec = Patch::Merge(json!({"spec": {"leaks": []}}));
    assert_eq!(code(gates.patch("mine", &parameters, &spec).await), 403);
    assert_eq!(
        code(gates.delete("mine", &DeleteParams::default()).await),
        403
    );
    let leaks: Api<VrfLeak> = Api::all(agent.clone());
    assert_eq!(code(leaks.list(&ListParams::default()).await), 403);
    let nodes: Api<Node> = Api::all(agent);
    assert_eq!(code(nodes.list(&ListParams::default()).await), 403);

    // A token that was made by hand is of no node.
    let of_no_node = token(&suite.admin, NAMESPACE, "vrfgate-agent", None)
        .await
        .unwrap();
    let stolen: Api<VrfGateNode> = Api::all(client(suite, "stolen", &of_no_node).await);
    let refused = stolen.patch_status("mine", &parameters, &status).await;
    assert!(
        matches!(&refused, Err(Error::Api(status)) if status.message.contains("names no node")),
        "{refused:?}"
    );
}

async fn the_controller_may_not_read_what_it_does_not_need(suite: &Suite) {
    let token = controller_token(&suite.admin).await;
    let controller = client(suite, "controller", &token).await;
    let secrets: Api<Secret> = Api::all(controller.clone());
    assert_eq!(code(secrets.list(&ListParams::default()).await), 403);
    let nodes: Api<Node> = Api::all(controller.clone());
    assert_eq!(
        code(nodes.delete("none", &DeleteParams::default()).await),
        403
    );
    let leaks: Api<VrfLeak> = Api::all(controller);
    assert_eq!(code(leaks.list(&ListParams::default()).await), 200);
    assert_eq!(
        code(leaks.delete("none", &DeleteParams::default()).await),
        403
    );
}
