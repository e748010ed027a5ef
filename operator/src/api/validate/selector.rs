//! `spec.nodeSelector`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::errors::Errors;
use crate::{
    api::field::FieldPath,
    compile::{Requirement, Selector},
};

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
    let labels = match_labels
        .iter()
        .flatten()
        .map(|(key, value)| Some(Requirement::In(key.clone(), vec![value.clone()])));
    let list = path.field("matchExpressions");
    let expressions = match_expressions
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, expression)| parse_expression(&list.index(index), expression, errors));
    labels
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
    let key = key.clone();
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
