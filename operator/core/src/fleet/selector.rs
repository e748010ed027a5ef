//! Which nodes and pods a leak applies to.

use std::collections::BTreeMap;

/// Conditions on labels, all of which must hold. Without any, everything is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub Vec<Requirement>);

/// A condition on the label `key`, as Kubernetes means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(String, Vec<String>),
    /// The label has none of these values, or isn't there.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label isn't there.
    DoesNotExist(String),
}

impl Selector {
    /// Whether something with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

/// Which pods a leak applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSelector {
    /// By the labels of their Kubernetes namespaces.
    pub namespaces: Selector,
    /// By their own.
    pub pods: Selector,
}

impl PodSelector {
    /// Whether a pod with these labels, in a Kubernetes namespace with those, is selected.
    pub(super) fn selects(
        &self,
        namespace_labels: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        self.namespaces.matches(namespace_labels) && self.pods.matches(labels)
    }
}
