//! The `CustomResourceDefinitions` that belong to these types.

use kube::CustomResourceExt;

use super::VrfLeak;

/// The CRD of [`VrfLeak`] as YAML, ready for `kubectl apply`.
///
/// # Errors
///
/// When the definition cannot be written as YAML.
pub fn crd_yaml() -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(&VrfLeak::crd())
}
