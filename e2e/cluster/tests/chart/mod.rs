//! The Helm chart, with helm itself and a real API server: what it refuses, what it makes, that all of it is valid, and
//! that it goes as it came.

mod examples;
mod jobs;
mod lifecycle;
mod made;
mod schema;
mod values;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;
use vrfgate_cluster::Helm;

use crate::{accounts::NAMESPACE, suite::Test};

/// Where the chart is.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/vrfgate");

pub fn tests() -> Vec<Test> {
    [
        schema::tests(),
        made::tests(),
        values::tests(),
        lifecycle::tests(),
        jobs::tests(),
        examples::tests(),
    ]
    .concat()
}

/// What the release `vrfgate` would be made of.
pub fn template(arguments: &[&str]) -> anyhow::Result<String> {
    let namespace = format!("--namespace={NAMESPACE}");
    let template = ["template", "vrfgate", CHART, namespace.as_str()];
    Helm::default().run(&[&template, arguments].concat())
}

/// A file of the chart.
fn file(name: &str) -> PathBuf {
    PathBuf::from(CHART).join(name)
}

pub fn read(name: &str) -> String {
    let path = file(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of manifests.
fn objects(manifests: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// `Kind namespace/name`, or `Kind name`.
fn id(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]);
    let name = text(&object["metadata"]["name"]);
    match &object["metadata"]["namespace"] {
        Value::String(namespace) => format!("{kind} {namespace}/{name}"),
        _ => format!("{kind} {name}"),
    }
}

/// The objects of a rendering, by what they are.
fn by_id(manifests: &str) -> BTreeMap<String, Value> {
    let objects = objects(manifests);
    let count = objects.len();
    let by_id: BTreeMap<String, Value> = objects
        .into_iter()
        .map(|object| (id(&object), object))
        .collect();
    assert_eq!(by_id.len(), count, "an object is there twice");
    by_id
}
