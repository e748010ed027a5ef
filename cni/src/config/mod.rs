//! The plugin's own part of a network configuration. Parsed once, here; a mistake is told with the path of its
//! field.

mod services;
mod values;

use std::path::PathBuf;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use vrfgate_ebpf::Store;

use crate::protocol::{Code, Failure, Input};

pub use services::Service;
pub use values::{Port, Prefix, ServiceName, VrfName};
pub(crate) use values::{check_device, is_on_purpose};

/// Keys of [`Places`].
const PLACES: [&str; 5] = ["agentSocket", "bpffs", "logFile", "logLevel", "runDir"];
/// Keys of [`Asked`].
const ASKED: [&str; 3] = ["required", "services", "vrf"];
/// Says who looks after this entry of a configuration list; of no meaning to the plugin. What installs entries
/// puts it in, and touches none without it.
pub const MANAGED_BY: &str = "managedBy";

/// Where things are. All that taking something away needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Places {
    bpffs: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    agent_socket: Option<PathBuf>,
    /// Instead of stderr.
    pub(crate) log_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) log_level: LogLevel,
}

/// How much is told in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Asked {
    /// The VRF that the services are for; without it, every VRF of the pod.
    pub(crate) vrf: Option<VrfName>,
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    /// Whether an ADD that no agent hears of has failed.
    #[serde(default)]
    pub(crate) required: bool,
}

impl Places {
    /// Reads nothing else, so that a pod can be taken down by a configuration that would not bring one up.
    pub(crate) fn of(input: &Input) -> Result<Self, Failure> {
        Self::read(&input.own()?)
    }

    fn read(own: &Map<String, Value>) -> Result<Self, Failure> {
        read(part(own, &PLACES))
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(
            self.bpffs.clone().unwrap_or_else(|| "/sys/fs/bpf".into()),
            self.run_directory(),
        )
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.agent_socket
            .clone()
            .unwrap_or_else(|| self.run_directory().join("agent.sock"))
    }

    fn run_directory(&self) -> PathBuf {
        self.run_dir
            .clone()
            .unwrap_or_else(|| "/run/vrfgate".into())
    }
}

impl Asked {
    pub(crate) fn of(input: &Input) -> Result<Self, Failure> {
        let mut own = input.own()?;
        own.remove(MANAGED_BY);
        Self::read(&own)
    }

    fn read(own: &Map<String, Value>) -> Result<Self, Failure> {
        if let Some(key) = own
            .keys()
            .find(|key| !PLACES.contains(&key.as_str()) && !ASKED.contains(&key.as_str()))
        {
            let known = [PLACES.as_slice(), &ASKED].concat().join(", ");
            return Err(Failure::new(
                Code::Configuration,
                format!("{key}: there is no such key; there are {known}"),
            ));
        }
        let asked: Self = read(part(own, &ASKED))?;
        services::check(&asked.services)
            .map_err(|mistake| Failure::new(Code::Configuration, mistake))?;
        Ok(asked)
    }
}

/// Whether the plugin would take these keys as its own, in an entry of a configuration list; if not, why, with the
/// path of the field. Keys of the specification are none of them.
///
/// # Errors
///
/// The first mistake there is.
pub fn check_own(own: &Map<String, Value>) -> Result<(), String> {
    Asked::read(own)
        .and_then(|_| Places::read(own))
        .map(drop)
        .map_err(|failure| failure.details)
}

fn part(own: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    own.iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn read<T: DeserializeOwned>(part: Map<String, Value>) -> Result<T, Failure> {
    serde_path_to_error::deserialize(Value::Object(part)).map_err(|error| {
        Failure::new(
            Code::Configuration,
            format!("{}: {}", error.path(), error.inner()),
        )
    })
}
