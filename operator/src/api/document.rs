//! One document of a file: is it a `VrfLeak`, is it well-formed, and which leak is it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::{CustomResourceExt, Resource};
use serde_path_to_error::Segment;
use vrfgate_core::Leak;

use super::{
    VrfLeak,
    field::{FieldError, FieldPath, Step},
    parse_local, shape,
    yaml::{Node, Value},
};

/// Fields of an object as an API server stores it.
const OBJECT_FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
/// Fields of `metadata` that people write.
const METADATA_FIELDS: &[&str] = &["name", "labels", "annotations"];
/// Fields of `metadata` that an API server adds: a file may come out of `kubectl get -o yaml`.
const SERVER_METADATA_FIELDS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Reads documents against the schema of `VrfLeak`, which is costly to make and so made once.
pub struct Reader {
    /// Schema of the field `spec`.
    spec: JSONSchemaProps,
}

impl Reader {
    /// A reader of `VrfLeak` documents.
    pub fn new() -> Self {
        let spec = VrfLeak::crd()
            .spec
            .versions
            .into_iter()
            .filter_map(|version| version.schema?.open_api_v3_schema?.properties)
            .find_map(|mut properties| properties.remove("spec"));
        Self {
            // The derive always makes one. Without it, unknown fields would pass, and their tests
            // would fail.
            spec: spec.unwrap_or_default(),
        }
    }

    /// The leak that the document holds, or everything that is wrong with it.
    pub fn read(&self, document: &Node) -> Result<Leak, Vec<FieldError>> {
        check_kind(document).map_err(|error| vec![error])?;
        let mut errors = self.check_shape(document);
        match deserialize(document) {
            Ok(leak) => match parse_local(&leak) {
                Ok(leak) if errors.is_empty() => return Ok(leak),
                Ok(_) => {}
                Err(more) => errors.extend(more),
            },
            // Where the shape is wrong, this error repeats it, with less detail.
            Err(error) if errors.is_empty() => errors.push(error),
            Err(_) => {}
        }
        Err(errors)
    }

    fn check_shape(&self, document: &Node) -> Vec<FieldError> {
        let root = FieldPath::root();
        let mut errors = unknown_fields(document, &root, OBJECT_FIELDS, &[]);
        let path = root.field("metadata");
        match document.get("metadata") {
            Some(metadata) => errors.extend(unknown_fields(
                metadata,
                &path,
                METADATA_FIELDS,
                SERVER_METADATA_FIELDS,
            )),
            None => errors.push(FieldError::new(path, "is required")),
        }
        let path = root.field("spec");
        match document.get("spec") {
            Some(spec) => errors.extend(shape::check(spec, &self.spec, &path)),
            None => errors.push(FieldError::new(path, "is required")),
        }
        errors
    }
}

/// Refuses documents of another kind, before their fields are checked.
fn check_kind(document: &Node) -> Result<(), FieldError> {
    let root = FieldPath::root();
    let (ours, version) = (VrfLeak::kind(&()), VrfLeak::api_version(&()));
    let Value::Object(_) = document.value else {
        return Err(FieldError::new(
            root,
            format!("is not an object; a {ours} begins with apiVersion: {version}"),
        ));
    };
    let given = |field| document.get(field).and_then(Node::as_text);
    match (given("apiVersion"), given("kind")) {
        (None, _) => Err(FieldError::new(
            root.field("apiVersion"),
            format!("is required: {version}"),
        )),
        (_, None) => Err(FieldError::new(
            root.field("kind"),
            format!("is required: {ours}"),
        )),
        (Some(_), Some(kind)) if kind != ours => Err(FieldError::new(
            root.field("kind"),
            format!("is {kind}; only {ours} is read from files"),
        )),
        (Some(given), Some(_)) if given != version => Err(FieldError::new(
            root.field("apiVersion"),
            format!("is {given}; this vrfgate reads {version}"),
        )),
        (Some(_), Some(_)) => Ok(()),
    }
}

fn unknown_fields(
    node: &Node,
    path: &FieldPath,
    known: &[&str],
    tolerated: &[&str],
) -> Vec<FieldError> {
    let Value::Object(entries) = &node.value else {
        return Vec::new();
    };
    entries
        .iter()
        .map(|entry| entry.key.as_str())
        .filter(|key| !known.contains(key) && !tolerated.contains(key))
        .map(|key| shape::unknown_field(path.field(key), known))
        .collect()
}

fn deserialize(document: &Node) -> Result<VrfLeak, FieldError> {
    serde_path_to_error::deserialize(document.to_json()).map_err(|error| {
        let path = error.path().iter().map(step).collect();
        FieldError::new(path, error.into_inner().to_string())
    })
}

fn step(segment: &Segment) -> Step {
    match segment {
        Segment::Seq { index } => Step::Index(*index),
        Segment::Map { key } => Step::Field(key.clone()),
        Segment::Enum { variant } => Step::Field(variant.clone()),
        Segment::Unknown => Step::Field("?".to_owned()),
    }
}
