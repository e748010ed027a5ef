//! The schema of a label selector. The type's own takes any text, and so selectors that nothing can evaluate.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::api::limits;

/// Part of a label's key before the slash: RFC 1123 subdomain.
const SUBDOMAIN_MAX: usize = 253;
/// Part after it, and a label's value.
const NAME_MAX: usize = 63;
/// The longest key of a label.
const KEY_MAX: usize = SUBDOMAIN_MAX + 1 + NAME_MAX;

/// A name as label keys end with; `{0,61}` keeps it at 63 characters.
macro_rules! name {
    () => {
        "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    };
}

/// A key of a label, but for the length of what comes before the slash.
macro_rules! key {
    () => {
        concat!(
            r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?",
            name!(),
            "$"
        )
    };
}

/// A label selector that Kubernetes can evaluate.
pub struct Selector;

impl JsonSchema for Selector {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LabelSelector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "matchLabels": {
                    "type": "object",
                    "description": "Labels that an object must have, all of them, each with the given value.",
                    "maxProperties": limits::SELECTOR_TERMS,
                    "additionalProperties": value(),
                    "x-kubernetes-validations": [{
                        "rule": concat!(
                            "self.all(key, size(key) <= 317 && key.indexOf('/') <= 253 && key.matches(r'", key!(), "'))"
                        ),
                        "message": "has a key that no label can have",
                    }],
                },
                "matchExpressions": {
                    "type": "array",
                    "description": "Conditions on labels, all of which must be met.",
                    "maxItems": limits::SELECTOR_TERMS,
                    "x-kubernetes-list-type": "atomic",
                    "items": expression(),
                },
            },
        })
    }
}

fn expression() -> Schema {
    json_schema!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {
                "type": "string",
                "description": "Key of the label.",
                "maxLength": KEY_MAX,
                "pattern": key!(),
                "x-kubernetes-validations": [{
                    "rule": "self.indexOf('/') <= 253",
                    "message": "has more than 253 characters before the slash",
                }],
            },
            "operator": {
                "type": "string",
                "description": "`In`: the value of the label is one of `values`. `NotIn`: it is none of them, or the label doesn't exist. `Exists`: the label exists, whatever its value. `DoesNotExist`: it doesn't.",
                "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
            },
            "values": {
                "type": "array",
                "description": "Values for `In` and `NotIn`, at least one. Must be empty for `Exists` and `DoesNotExist`.",
                "maxItems": limits::SELECTOR_VALUES,
                "x-kubernetes-list-type": "atomic",
                "items": value(),
            },
        },
        "x-kubernetes-validations": [
            {
                "rule": "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
                "message": "is required by the operators In and NotIn",
                "fieldPath": ".values",
            },
            {
                "rule": "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
                "message": "must be empty with the operators Exists and DoesNotExist",
                "fieldPath": ".values",
            },
        ],
    })
}

fn value() -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": NAME_MAX,
        "pattern": concat!("^(", name!(), ")?$"),
    })
}
