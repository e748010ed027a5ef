//! The examples that come with the chart: the API server takes them, and so does the controller.

use std::{fs, path::PathBuf};

use vrfgate_cluster::apply;

use super::{file, objects};
use crate::{
    kit::Kit,
    suite::{Suite, Test, tests},
};

pub fn tests() -> Vec<Test> {
    tests![every_example_of_the_chart_is_accepted]
}

/// Multus's kind, with as much of its schema as there is (github.com/k8snetworkplumbingwg, v1).
pub const MULTUS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: network-attachment-definitions.k8s.cni.cncf.io}
spec:
  group: k8s.cni.cncf.io
  scope: Namespaced
  names: {kind: NetworkAttachmentDefinition, plural: network-attachment-definitions, singular: network-attachment-definition}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties: {spec: {type: object, properties: {config: {type: string}}}}
";

async fn every_example_of_the_chart_is_accepted(suite: &Suite) {
    let mut examples: Vec<PathBuf> = fs::read_dir(file("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    examples.sort();
    assert_eq!(examples.len(), 4, "{examples:?}");
    apply(&suite.admin, MULTUS).await.unwrap();
    let kit = Kit::new(suite).await;
    kit.node("one", "edge", "192.0.2.1").await;
    let _controller = kit.controller("one").await;
    let mut names = Vec::new();
    for example in &examples {
        let text = fs::read_to_string(example).unwrap();
        assert!(
            text.starts_with("# "),
            "{} says what it is for",
            example.display()
        );
        let all = objects(&text);
        // Several VrfLeaks that stand beside each other do so on purpose.
        names.extend(all.iter().filter_map(|object| {
            let name = object["metadata"]["name"].as_str()?;
            (object["kind"] == "VrfLeak").then(|| name.to_owned())
        }));
        if let Some(config) = all
            .iter()
            .find_map(|object| object["spec"]["config"].as_str())
        {
            let config: serde_json::Value = serde_json::from_str(config).unwrap();
            assert_eq!(config["plugins"][2]["type"], "vrfgate", "{config}");
        }
        apply(&suite.admin, &text)
            .await
            .unwrap_or_else(|error| panic!("{}: {error:#}", example.display()));
    }
    assert_eq!(names.len(), 5, "{names:?}");
    for name in &names {
        kit.condition_becomes(name, "Accepted", "Accepted").await;
        kit.condition_becomes(name, "Conflicted", "NoConflict")
            .await;
    }
    kit.condition_becomes("ingress", "ReferencesResolved", "Resolved")
        .await;
    // Later tests may make nodes that they would apply to.
    Kit::new(suite).await;
}
