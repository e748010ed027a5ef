//! The definition that an API server gets.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::api::crd_yaml;

fn definitions() -> Vec<Value> {
    serde_saphyr::from_multiple(&crd_yaml().unwrap()).unwrap()
}

fn definition() -> Value {
    definitions().remove(0)
}

/// Calls `visit` with each schema of the tree, and the way to it.
fn for_each_schema(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        for_each_schema(child, &format!("{path}.{name}"), visit);
    }
    for keyword in ["items", "additionalProperties"] {
        if schema[keyword].is_object() {
            for_each_schema(&schema[keyword], &format!("{path}.{keyword}"), visit);
        }
    }
}

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

#[test]
fn the_definition_is_cluster_scoped_with_short_name_and_status() {
    let definition = definition();
    assert_eq!(definition["metadata"]["name"], "vrfleaks.vrfgate.dev");
    assert_eq!(definition["spec"]["scope"], "Cluster");
    assert_eq!(definition["spec"]["names"]["shortNames"][0], "vleak");
    assert_eq!(definition["spec"]["versions"][0]["name"], "v1alpha1");
    assert!(definition["spec"]["versions"][0]["subresources"]["status"].is_object());
}

#[test]
fn the_definitions_are_what_kubernetes_takes_them_for() {
    let text = crd_yaml().unwrap();
    let definitions: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&text).unwrap();
    let kinds: Vec<&str> = definitions
        .iter()
        .map(|definition| definition.spec.names.kind.as_str())
        .collect();
    assert_eq!(kinds, ["VrfLeak", "VrfGateNode"]);
}

#[test]
fn the_schema_is_structural() {
    for definition in definitions() {
        for_each_schema(schema(&definition), "", &mut |path, schema| {
            assert!(schema["type"].is_string(), "{path} has no type");
            assert_ne!(
                schema["additionalProperties"],
                Value::Bool(false),
                "{path}: Kubernetes refuses additionalProperties: false"
            );
            for keyword in ["$ref", "anyOf", "oneOf", "allOf", "definitions"] {
                assert!(schema[keyword].is_null(), "{path} has {keyword}");
            }
        });
    }
}

#[test]
fn every_field_explains_itself() {
    for definition in definitions() {
        for_each_schema(schema(&definition), "", &mut |path, schema| {
            let name = path.rsplit('.').next();
            let is_element = matches!(name, Some("items" | "additionalProperties"));
            assert!(
                is_element || schema["description"].is_string(),
                "{path} has no description for kubectl explain"
            );
        });
    }
}

#[test]
fn columns_show_what_the_eye_looks_for() {
    let definition = definition();
    let columns: Vec<&str> = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(
        columns,
        ["VRF", "MODE", "SERVICES", "NODES", "READY", "AGE"]
    );
}
