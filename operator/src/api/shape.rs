//! Whether a document has the shape of the CRD's schema: known fields, right types, nothing missing.
//!
//! An API server refuses the same before it checks values. The schema is the one that the server
//! gets, so that a field is declared in one place only.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::{
    field::{FieldError, FieldPath},
    yaml::{Entry, Node, Value},
};

/// Everything in `node`, found at `path`, that `schema` does not allow.
///
/// Checks structure only: validation checks ranges, lengths and words, with better messages.
pub fn check(node: &Node, schema: &JSONSchemaProps, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_node(node, schema, path, &mut errors);
    errors
}

fn check_node(
    node: &Node,
    schema: &JSONSchemaProps,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    if matches!(node.value, Value::Null) && schema.nullable == Some(true) {
        return;
    }
    if let Some(wanted) = &schema.type_
        && !has_type(&node.value, wanted)
    {
        errors.push(FieldError::new(
            path.clone(),
            wrong_type(wanted, &node.value),
        ));
        return;
    }
    match &node.value {
        Value::Object(entries) => check_object(entries, schema, path, errors),
        Value::List(nodes) => {
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
                for (index, node) in nodes.iter().enumerate() {
                    check_node(node, items, &path.index(index), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

fn check_object(
    entries: &[Entry],
    schema: &JSONSchemaProps,
    path: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let other = match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(&**schema),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
    };
    for Entry { key, node, .. } in entries {
        let path = path.field(key);
        let declared = schema.properties.as_ref().and_then(|known| known.get(key));
        match (declared.or(other), &schema.properties) {
            (Some(schema), _) => check_node(node, schema, &path, errors),
            (None, Some(known)) => {
                let known: Vec<&str> = known.keys().map(String::as_str).collect();
                errors.push(unknown_field(path, &known));
            }
            // A schema that declares no fields takes any.
            (None, None) => {}
        }
    }
    for required in schema.required.iter().flatten() {
        if !entries.iter().any(|entry| entry.key == *required) {
            errors.push(FieldError::new(path.field(required), "is required"));
        }
    }
}

/// The complaint about a field that is none of `known`.
pub fn unknown_field(path: FieldPath, known: &[&str]) -> FieldError {
    let known = known.join(", ");
    FieldError::new(path, format!("unknown field, expected one of {known}"))
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) => wanted == "boolean",
        Value::Number(number) => wanted == "number" || (wanted == "integer" && !number.is_f64()),
        Value::Text(_) => wanted == "string",
        Value::List(_) => wanted == "array",
        Value::Object(_) => wanted == "object",
    }
}

fn wrong_type(wanted: &str, value: &Value) -> String {
    let described = match wanted {
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "an integer",
        "string" => "text",
        "array" => "a list",
        "object" => "an object",
        other => other,
    };
    match value {
        Value::Null => format!("is empty, must be {described}"),
        // A text that looks like another type only lacks its quotes.
        Value::Bool(value) if wanted == "string" => format!("must be text; write \"{value}\""),
        Value::Number(value) if wanted == "string" => format!("must be text; write \"{value}\""),
        Value::Bool(value) => format!("must be {described}, not {value}"),
        Value::Number(value) => format!("must be {described}, not the number {value}"),
        Value::Text(text) => format!("must be {described}, not the text {text:?}"),
        Value::List(_) => format!("must be {described}, not a list"),
        Value::Object(_) => format!("must be {described}, not an object"),
    }
}
