//! Installed, upgraded, uninstalled, installed again. On a control plane of its own, because the others have vrfgate
//! installed. Pods don't run there, so hooks are left out; `jobs.rs` runs what they would.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::{apps::v1::DaemonSet, core::v1::Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, PostParams},
    discovery::{Discovery, Scope, verbs},
};
use serde_json::Value;
use tokio::task::block_in_place;
use vrfgate_cluster::{ControlPlane, Helm};
use vrfgate_operator::api::{VrfLeak, VrfLeakSpec};

use super::{CHART, by_id, template};
use crate::{
    accounts::NAMESPACE,
    kit::eventually,
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![helm_installs_upgrades_and_uninstalls_and_leaks_stay_unless_asked]
}

/// What there is in the cluster that bears the release's label.
async fn of_the_release(client: &Client) -> BTreeSet<String> {
    let ours = ListParams::default().labels("app.kubernetes.io/instance=vrfgate");
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let mut found = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST) || resource.group == "metrics.k8s.io" {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            // Some kinds that have `list` are only ever asked about.
            let Ok(objects) = api.list(&ours).await else {
                continue;
            };
            for object in objects {
                let name = object.metadata.name.unwrap();
                let kind = &resource.kind;
                found.insert(match (&capabilities.scope, object.metadata.namespace) {
                    (Scope::Namespaced, Some(namespace)) => format!("{kind} {namespace}/{name}"),
                    _ => format!("{kind} {name}"),
                });
            }
        }
    }
    found
}

async fn helm_installs_upgrades_and_uninstalls_and_leaks_stay_unless_asked(_: &Suite) {
    let cluster = block_in_place(ControlPlane::start).unwrap();
    let client = cluster.client(&cluster.admin()).await.unwrap();
    let helm = Helm::of(&cluster.write_kubeconfig("helm", &cluster.admin()).unwrap());
    let namespace = format!("--namespace={NAMESPACE}");
    let helm = |arguments: &[&str]| {
        let arguments = [arguments, &["--no-hooks", namespace.as_str()]].concat();
        helm.run(&arguments)
            .unwrap_or_else(|error| panic!("{error:#}"))
    };
    let wanted = by_id(&template(&["--no-hooks"]).unwrap());
    let crds: BTreeSet<String> = wanted
        .keys()
        .filter(|id| id.starts_with("CustomResourceDefinition"))
        .cloned()
        .collect();
    let wanted: BTreeSet<String> = wanted.into_keys().collect();
    assert_eq!(crds.len(), 2);

    let notes = helm(&["install", "vrfgate", CHART, "--create-namespace"]);
    assert!(
        notes.contains("helm -n vrfgate-system test vrfgate"),
        "{notes}"
    );
    assert!(notes.contains("kubectl apply -f -"), "{notes}");
    assert_eq!(of_the_release(&client).await, wanted);

    // A leak, which the upgrades must not lose.
    let leaks: Api<VrfLeak> = Api::all(client.clone());
    let spec: VrfLeakSpec = serde_json::from_value(serde_json::json!({"vrf": "BLUE"})).unwrap();
    let leak = VrfLeak::new("blue", spec);
    leaks.create(&PostParams::default(), &leak).await.unwrap();

    // An upgrade replaces a CRD of an older chart, or one that somebody has changed.
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let older =
        kube::api::Patch::Merge(serde_json::json!({"spec": {"names": {"shortNames": ["older"]}}}));
    definitions
        .patch(
            "vrfleaks.vrfgate.dev",
            &kube::api::PatchParams::default(),
            &older,
        )
        .await
        .unwrap();
    helm(&[
        "upgrade",
        "vrfgate",
        CHART,
        "--set",
        "agent.steerMask=0xff0000",
        "--force",
    ]);
    let agents: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let agent = serde_json::to_value(agents.get("vrfgate-agent").await.unwrap()).unwrap();
    let arguments = &agent["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(
        arguments
            .as_array()
            .unwrap()
            .contains(&Value::from("--steer-mask=0xff0000")),
        "{arguments}"
    );
    let definition = definitions.get("vrfleaks.vrfgate.dev").await.unwrap();
    assert_eq!(
        definition.spec.names.short_names,
        Some(vec!["vleak".to_owned()])
    );
    assert_eq!(of_the_release(&client).await, wanted);

    helm(&["uninstall", "vrfgate"]);
    assert_eq!(of_the_release(&client).await, crds);
    leaks.get("blue").await.unwrap();

    // What was kept is taken over by the next release of the same name.
    helm(&["install", "vrfgate", CHART]);
    assert_eq!(of_the_release(&client).await, wanted);
    leaks.get("blue").await.unwrap();

    helm(&["upgrade", "vrfgate", CHART, "--set", "crds.keep=false"]);
    helm(&["uninstall", "vrfgate"]);
    eventually("the end of the CRDs", async || {
        let left = of_the_release(&client).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.get(NAMESPACE).await.unwrap();
}
