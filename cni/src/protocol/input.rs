//! The stdin of a call: the network configuration, with the runtime's additions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{Code, Failure, SpecVersion, environment::is_cni_name};

/// Keys of the specification, and keys that runtimes add. They are no part of a plugin's own configuration.
const WELL_KNOWN: [&str; 9] = [
    "args",
    "capabilities",
    "cniVersion",
    "dns",
    "ipam",
    "name",
    "prevResult",
    "runtimeConfig",
    "type",
];
const WELL_KNOWN_PREFIX: &str = "cni.dev/";

/// A network configuration with a supported version and a valid name.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) version: SpecVersion,
    /// Name of the network.
    pub(crate) network: String,
    keys: BTreeMap<String, Box<RawValue>>,
}

/// An attachment that a runtime still knows of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

impl Input {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Failure> {
        let keys: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(text).map_err(|error| {
                Failure::new(Code::Decoding, format!("the JSON object on stdin: {error}"))
            })?;
        let version = SpecVersion::of(text_of(&keys, "cniVersion")?.as_deref())?;
        let network = text_of(&keys, "name")?.unwrap_or_default();
        if !is_cni_name(&network) {
            return Err(Failure::new(
                Code::Configuration,
                format!(
                    "name: {network:?} must be letters, digits, '_', '.' and '-', and begin with a letter or digit"
                ),
            ));
        }
        Ok(Self {
            version,
            network,
            keys,
        })
    }

    /// The version that a text on stdin states, for the answer to it. The text may be anything.
    pub(crate) fn stated_version(text: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Stated {
            cni_version: String,
        }
        serde_json::from_slice(text)
            .ok()
            .map(|Stated { cni_version }| cni_version)
            .filter(|version| !version.is_empty())
    }

    /// The result of the plugins before this one in the chain, byte for byte.
    pub(crate) fn prev_result(&self) -> Result<&RawValue, Failure> {
        let refuse = |why: &str| {
            Err(Failure::new(
                Code::Configuration,
                format!("prevResult: {why}"),
            ))
        };
        match self.keys.get("prevResult") {
            Some(result) if result.get().starts_with('{') => Ok(result),
            Some(result) if result.get() != "null" => refuse("is not an object"),
            _ => refuse(
                "is missing; this plugin attaches nothing by itself: put it behind the one that makes the \
                 interface, and behind `vrf`, in \"plugins\" of a network configuration list",
            ),
        }
    }

    /// The attachments that GC must keep. Go writes an empty list as `null`.
    pub(crate) fn valid_attachments(&self) -> Result<Vec<ValidAttachment>, Failure> {
        // libcni also writes the second, which an earlier specification had by mistake.
        let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let Some((name, list)) = names
            .iter()
            .find_map(|name| Some((name, self.keys.get(*name)?)))
        else {
            return Err(Failure::new(
                Code::Configuration,
                format!(
                    "{}: is missing; without it, every attachment would count as gone",
                    names[0]
                ),
            ));
        };
        serde_json::from_str::<Option<Vec<ValidAttachment>>>(list.get())
            .map(Option::unwrap_or_default)
            .map_err(|error| Failure::new(Code::Configuration, format!("{name}: {error}")))
    }

    /// Everything that is the plugin's own.
    pub(crate) fn own(&self) -> Result<Map<String, Value>, Failure> {
        self.keys
            .iter()
            .filter(|(key, _)| {
                !WELL_KNOWN.contains(&key.as_str()) && !key.starts_with(WELL_KNOWN_PREFIX)
            })
            .map(|(key, value)| {
                let value = serde_json::from_str(value.get())
                    .map_err(|error| Failure::new(Code::Decoding, format!("{key}: {error}")))?;
                Ok((key.clone(), value))
            })
            .collect()
    }
}

fn text_of(keys: &BTreeMap<String, Box<RawValue>>, key: &str) -> Result<Option<String>, Failure> {
    keys.get(key)
        .map_or(Ok(None), |value| serde_json::from_str(value.get()))
        .map_err(|error| Failure::new(Code::Decoding, format!("{key}: {error}")))
}
