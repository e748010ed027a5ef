//! The `CustomResourceDefinitions` that belong to these types.

use kube::CustomResourceExt;

use super::{VrfGateNode, VrfLeak};

/// The CRDs of [`VrfLeak`] and [`VrfGateNode`] as YAML, ready for `kubectl apply`.
///
/// # Errors
///
/// When the definitions cannot be written as YAML.
pub fn crd_yaml() -> Result<String, serde_saphyr::SerializeError> {
    let definitions = [VrfLeak::crd(), VrfGateNode::crd()];
    serde_saphyr::to_string_multiple(&definitions)
}
