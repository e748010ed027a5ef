//! What `kubectl` would be called for: manifests, and tokens of service accounts.

use anyhow::Context as _;
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Pod, ServiceAccount},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    discovery::{Discovery, Scope},
    runtime::{conditions::is_crd_established, wait::await_condition},
};

/// As `kubectl apply -f -` does; waits until new kinds are known.
pub async fn apply(client: &Client, manifests: &str) -> anyhow::Result<()> {
    let parameters = PatchParams::apply("test").force();
    for object in patch_all(client, manifests, &parameters).await? {
        let kind = object.types.unwrap_or_default().kind;
        if kind == "CustomResourceDefinition" {
            let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
            let name = object.metadata.name.unwrap_or_default();
            await_condition(definitions, &name, is_crd_established()).await?;
        }
    }
    Ok(())
}

/// As `kubectl apply --dry-run=server -f -` does, where a field that the API server doesn't know is an error.
pub async fn apply_dry(client: &Client, manifests: &str) -> anyhow::Result<()> {
    let parameters = PatchParams::apply("test").force().dry_run();
    let strict = parameters.validation_strict();
    patch_all(client, manifests, &strict).await.map(drop)
}

/// The objects as the API server has them then.
async fn patch_all(
    client: &Client,
    manifests: &str,
    parameters: &PatchParams,
) -> anyhow::Result<Vec<DynamicObject>> {
    let documents: Vec<Option<DynamicObject>> =
        serde_saphyr::from_multiple(manifests).context("reading manifests")?;
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut stored = Vec::new();
    for object in documents.into_iter().flatten() {
        let types = object.types.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let kind = (&types).try_into()?;
        let (resource, capabilities) = discovery
            .resolve_gvk(&kind)
            .with_context(|| format!("there is no kind {types:?}"))?;
        let api: Api<DynamicObject> = match (capabilities.scope, &object.metadata.namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client.clone(), namespace, &resource)
            }
            _ => Api::all_with(client.clone(), &resource),
        };
        let patched = api.patch(&name, parameters, &Patch::Apply(&object)).await;
        stored.push(patched.with_context(|| format!("applying {} {name}", types.kind))?);
    }
    Ok(stored)
}

/// A token of a service account; as a kubelet would ask for it, for a `pod`.
pub async fn token(
    client: &Client,
    namespace: &str,
    account: &str,
    pod: Option<&Pod>,
) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            bound_object_ref: pod.map(|pod| BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let granted = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("asking for a token of {namespace}/{account}"))?;
    let status = granted.status.unwrap_or_default();
    status.token.context("no token was granted")
}
