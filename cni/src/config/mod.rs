//! The plugin's configuration: what to open, from the network configuration, and the paths of the node, from a file of the node's.
//! Parsed once, here. Errors name the path of the field.

mod places;

use serde::Deserialize;
use serde_json::{Map, Value};
use vrfgate_core::{Service, ServiceWords, VrfName};

use crate::protocol::{Code, Failure, Input};

pub(crate) use places::{LogLevel, Places, open_regular};

/// Keys of [`OwnConfig`].
const KEYS: [&str; 3] = ["required", "services", "vrf"];
/// Names the owner of an entry in a configuration list. The plugin ignores it. The installer writes it, and changes no entry
/// without it.
pub const MANAGED_BY: &str = "managedBy";

/// The plugin's own part of a network configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnConfig {
    /// The VRF that the services are for; without it, every VRF of the pod.
    pub(crate) vrf: Option<VrfName>,
    pub(crate) services: Vec<Service>,
    /// Whether ADD fails without an agent.
    pub(crate) required: bool,
}

/// The same, as written.
#[derive(Deserialize)]
struct Words {
    vrf: Option<VrfName>,
    #[serde(default)]
    services: Vec<ServiceWords>,
    #[serde(default)]
    required: bool,
}

impl OwnConfig {
    pub(crate) fn of(input: &Input) -> Result<Self, Failure> {
        let mut own = input.own()?;
        own.remove(MANAGED_BY);
        Self::read(&own)
    }

    fn read(own: &Map<String, Value>) -> Result<Self, Failure> {
        let refuse = |mistake| Failure::new(Code::Configuration, mistake);
        if let Some(key) = own.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let why = if places::KEYS.contains(&key.as_str()) {
                "is set in /etc/vrfgate/cni.conf on the node, not in a network configuration"
                    .to_owned()
            } else {
                format!("there is no such key; there are {}", KEYS.join(", "))
            };
            return Err(refuse(format!("{key}: {why}")));
        }
        let Words {
            vrf,
            services,
            required,
        } = serde_path_to_error::deserialize(Value::Object(own.clone()))
            .map_err(|error| refuse(format!("{}: {}", error.path(), error.inner())))?;
        Ok(Self {
            vrf,
            services: vrfgate_core::services(services).map_err(refuse)?,
            required,
        })
    }
}

/// Whether the plugin accepts these keys as its own part of an entry. Keys of the specification don't belong there.
///
/// # Errors
///
/// The first mistake, with the path of its field.
pub fn check_own(own: &Map<String, Value>) -> Result<(), String> {
    OwnConfig::read(own)
        .map(drop)
        .map_err(|failure| failure.details)
}
