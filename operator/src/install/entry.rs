//! Our entry in a configuration list, and the keys that a user may set in it.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value, json};
use vrfgate_cni::{MANAGED_BY, check_own};

/// The plugin's type, which is the name of its executable.
pub const TYPE: &str = "vrfgate";

/// By this value of [`MANAGED_BY`] we know what we have put in ourselves.
pub const OURS: &str = "vrfgate";

/// The plugin's own keys, as a user wants them in the entry. Exists only if the plugin would take them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainConfig(Map<String, Value>);

impl FromStr for ChainConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        let Value::Object(keys) = value else {
            return Err(
                "is no JSON object; an example: {\"vrf\": \"BLUE\", \"services\": []}".to_owned(),
            );
        };
        check_own(&keys)?;
        Ok(Self(keys))
    }
}

/// Our entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    keys: Value,
    text: String,
}

impl Entry {
    /// The entry with these keys in it.
    #[must_use]
    pub fn new(config: &ChainConfig) -> Self {
        let marks = json!({"type": TYPE, MANAGED_BY: OURS});
        let mut keys = config.0.clone();
        // People who read the file look for the type first.
        let mut parts = Vec::new();
        if let Value::Object(marks) = marks {
            parts.extend(marks.iter().rev().map(pair));
            parts.extend(keys.iter().map(pair));
            keys.extend(marks);
        }
        Self {
            keys: Value::Object(keys),
            text: format!("{{{}}}", parts.join(", ")),
        }
    }

    /// As it is written, in one line.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text means the same: another writer of the list may have formatted it differently.
    pub(super) fn is(&self, text: &str) -> bool {
        serde_json::from_str::<Value>(text).is_ok_and(|keys| keys == self.keys)
    }
}

fn pair((key, value): (&String, &Value)) -> String {
    format!("{}: {value}", Value::from(key.as_str()))
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
