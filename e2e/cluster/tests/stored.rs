//! What an older version has stored stays within reach of the rules of today.

use http::Request;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    kit::eventually,
    suite::{Suite, Test, tests},
    validation::leak,
};

pub fn tests() -> Vec<Test> {
    tests![what_was_stored_before_a_rule_came_can_still_be_told_of_and_let_go]
}

/// Removes every rule from a schema, as an older version may have had it.
fn forget_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for rule in [
                "x-kubernetes-validations",
                "pattern",
                "enum",
                "maxLength",
                "minLength",
                "maxItems",
                "maxProperties",
            ] {
                // A field of that name is not a rule.
                if fields.get(rule).is_some_and(|rule| !rule.is_object()) {
                    fields.remove(rule);
                }
            }
            fields.values_mut().for_each(forget_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_rules),
        _ => {}
    }
}

/// The same definition under another group, with the rules of today or none: what is stored under the one is then
/// looked at by the other.
fn definition(with_rules: bool) -> Value {
    let text = vrfgate_operator::api::crd_yaml().unwrap();
    let definitions: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut definition = definitions.into_iter().next().unwrap();
    definition["metadata"]["name"] = json!("vrfleaks.stored.example");
    definition["metadata"]["annotations"] = json!({});
    definition["spec"]["group"] = json!("stored.example");
    definition["spec"]["names"]["shortNames"] = json!([]);
    definition["spec"]["names"]["categories"] = json!([]);
    if !with_rules {
        forget_rules(&mut definition["spec"]["versions"]);
    }
    definition
}

/// A request to the API server; what it says, or why not.
async fn send(admin: &Client, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let content = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(body.to_string().into_bytes())
        .unwrap();
    admin
        .request(request)
        .await
        .map_err(|error| error.to_string())
}

async fn what_was_stored_before_a_rule_came_can_still_be_told_of_and_let_go(suite: &Suite) {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const OBJECTS: &str = "/apis/stored.example/v1alpha1/vrfleaks";
    let admin = &suite.admin;
    send(admin, "POST", DEFINITIONS, &definition(false))
        .await
        .unwrap();
    let named = format!("{DEFINITIONS}/vrfleaks.stored.example");
    let mut old: Value = serde_saphyr::from_str(&leak(
        "vrf: BLUE, pods: {}, nodeSelector: {matchExpressions: [{key: a role, operator: Foo}]}, \
         services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: ['2001:db8::/32']}]",
    ))
    .unwrap();
    old["apiVersion"] = json!("stored.example/v1alpha1");
    // The API server serves a new kind some time after it was made.
    eventually("the new kind", async || {
        send(admin, "POST", OBJECTS, &old).await
    })
    .await;

    let rules = json!({"spec": {"versions": definition(true)["spec"]["versions"]}});
    send(admin, "PATCH", &named, &rules).await.unwrap();
    let mut fresh = old.clone();
    fresh["metadata"]["name"] = json!("fresh");
    // So it does with new rules.
    eventually("the rules come into force", async || {
        let dry_run = format!("{OBJECTS}?dryRun=All");
        match send(admin, "POST", &dry_run, &fresh).await {
            Ok(taken) => Err(taken),
            Err(refused) => Ok(refused),
        }
    })
    .await;

    let object = format!("{OBJECTS}/blue");
    let status = json!({"status": {"conditions": [{
        "type": "Accepted", "status": "False", "reason": "Invalid", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    send(admin, "PATCH", &format!("{object}/status"), &status)
        .await
        .unwrap();
    for finalizers in [json!(["vrfgate.dev/nodes-let-go"]), json!([])] {
        let held = json!({"metadata": {"finalizers": finalizers}});
        send(admin, "PATCH", &object, &held).await.unwrap();
    }
    // An edit of something else doesn't require that all mistakes are corrected first.
    send(
        admin,
        "PATCH",
        &object,
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await
    .unwrap();
    send(admin, "DELETE", &object, &json!({})).await.unwrap();
    send(admin, "DELETE", &named, &json!({})).await.unwrap();
}
