//! The name of the agents' `DaemonSet`.

use std::{fmt, str::FromStr};

/// Name of the agents' `DaemonSet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSetName {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its own name.
    pub name: String,
}

impl FromStr for DaemonSetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err("must be NAMESPACE/NAME".to_owned()),
        }
    }
}

impl fmt::Display for DaemonSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
