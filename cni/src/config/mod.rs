//! What the plugin is told: by a network configuration what is asked for, by the node where things are. Parsed once, here; a
//! mistake is told with the path of its field.

mod places;
mod services;
mod values;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::protocol::{Code, Failure, Input};

pub(crate) use places::{LogLevel, Places, open_regular};
pub use services::Service;
pub(crate) use services::check as check_services;
pub use values::{Port, Prefix, ServiceName, VrfName};
pub(crate) use values::{check_device, is_on_purpose};

/// Keys of [`Asked`].
const ASKED: [&str; 3] = ["required", "services", "vrf"];
/// Says who looks after this entry of a configuration list; of no meaning to the plugin. What installs entries
/// puts it in, and touches none without it.
pub const MANAGED_BY: &str = "managedBy";

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

impl Asked {
    pub(crate) fn of(input: &Input) -> Result<Self, Failure> {
        let mut own = input.own()?;
        own.remove(MANAGED_BY);
        Self::read(&own)
    }

    fn read(own: &Map<String, Value>) -> Result<Self, Failure> {
        let refuse = |mistake| Failure::new(Code::Configuration, mistake);
        if let Some(key) = own.keys().find(|key| !ASKED.contains(&key.as_str())) {
            let why = if places::KEYS.contains(&key.as_str()) {
                "is the node's to say, in /etc/vrfgate/cni.conf, and not a network configuration's"
                    .to_owned()
            } else {
                format!("there is no such key; there are {}", ASKED.join(", "))
            };
            return Err(refuse(format!("{key}: {why}")));
        }
        let asked: Self = serde_path_to_error::deserialize(Value::Object(own.clone()))
            .map_err(|error| refuse(format!("{}: {}", error.path(), error.inner())))?;
        services::check(&asked.services).map_err(refuse)?;
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
        .map(drop)
        .map_err(|failure| failure.details)
}
