//! `spec.nodeSelector` and the selectors of `spec.pods`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use vrfgate_core::{Requirement, Selector, is_subdomain};

use super::errors::Errors;
use crate::api::{field::FieldPath, limits};

/// RFC 1123 subdomain, the part of a label's key before the slash.
const SUBDOMAIN_MAX: usize = 253;
/// The part after it, and a label's value.
const NAME_MAX: usize = 63;

/// The selector, if all of it is legal. Without one, everything is selected.
pub fn parse(
    path: &FieldPath,
    selector: Option<&LabelSelector>,
    errors: &mut Errors,
) -> Option<Selector> {
    let Some(LabelSelector {
        match_expressions,
        match_labels,
    }) = selector
    else {
        return Some(Selector::default());
    };
    let list = path.field("matchLabels");
    let given = match_labels.as_ref().map_or(0, BTreeMap::len);
    if given > limits::SELECTOR_TERMS {
        let max = limits::SELECTOR_TERMS;
        errors.add(
            &list,
            format!("has {given} entries; at most {max} are allowed"),
        );
    }
    let labels: Vec<Option<Requirement>> = match_labels
        .iter()
        .flatten()
        .map(|(key, value)| {
            let checked = errors.keep(&list, check_key(key));
            errors.keep(&list.field(key), check_value(value))?;
            checked?;
            Some(Requirement::In(key.clone(), vec![value.clone()]))
        })
        .collect();
    let list = path.field("matchExpressions");
    let expressions = match_expressions.as_deref().unwrap_or_default();
    errors.check_length(&list, expressions, limits::SELECTOR_TERMS);
    let expressions = expressions
        .iter()
        .enumerate()
        .map(|(index, expression)| parse_expression(&list.index(index), expression, errors));
    labels
        .into_iter()
        .chain(expressions)
        .collect::<Option<_>>()
        .map(Selector)
}

fn parse_expression(
    path: &FieldPath,
    expression: &LabelSelectorRequirement,
    errors: &mut Errors,
) -> Option<Requirement> {
    let LabelSelectorRequirement {
        key,
        operator,
        values,
    } = expression;
    let values = values.clone().unwrap_or_default();
    let list = path.field("values");
    errors.check_length(&list, &values, limits::SELECTOR_VALUES);
    let values: Option<Vec<String>> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            errors.keep(&list.index(index), check_value(&value))?;
            Some(value)
        })
        .collect();
    let checked = errors.keep(&path.field("key"), check_key(key));
    let (values, key) = (values?, key.clone());
    checked?;
    match (operator.as_str(), values.is_empty()) {
        ("In", false) => Some(Requirement::In(key, values)),
        ("NotIn", false) => Some(Requirement::NotIn(key, values)),
        ("Exists", true) => Some(Requirement::Exists(key)),
        ("DoesNotExist", true) => Some(Requirement::DoesNotExist(key)),
        ("In" | "NotIn", true) => errors.refuse(
            &path.field("values"),
            format!("is required by the operator {operator}"),
        ),
        ("Exists" | "DoesNotExist", false) => errors.refuse(
            &path.field("values"),
            format!("must be empty with the operator {operator}"),
        ),
        _ => errors.refuse(
            &path.field("operator"),
            format!("{operator:?} must be In, NotIn, Exists or DoesNotExist"),
        ),
    }
}

/// As Kubernetes does (`IsQualifiedName`): no object could have another as a label.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix
        && !(prefix.len() <= SUBDOMAIN_MAX && is_subdomain(prefix))
    {
        return Err(format!(
            "{key:?} is no key of a label: before the slash belong at most {SUBDOMAIN_MAX} lower-case letters, \
             digits, '-' and '.', with a letter or digit at both ends of each part"
        ));
    }
    if is_name(name) {
        Ok(())
    } else {
        Err(format!(
            "{key:?} is no key of a label: write 1 to {NAME_MAX} letters, digits, '-', '_' and '.', with a letter or \
             digit at both ends, and before that at most a domain and a slash"
        ))
    }
}

/// As Kubernetes does (`IsValidLabelValue`).
fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) {
        Ok(())
    } else {
        Err(format!(
            "{value:?} is no value of a label: write at most {NAME_MAX} letters, digits, '-', '_' and '.', with a \
             letter or digit at both ends"
        ))
    }
}

fn is_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let at_ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= NAME_MAX
        && bytes.iter().copied().all(inner)
        && at_ends(bytes.first())
        && at_ends(bytes.last())
}
