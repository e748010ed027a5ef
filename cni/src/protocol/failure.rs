//! The error result of a verb.

use serde_json::json;

/// Error codes: below 100 those of the specification, from 100 on the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    Environment = 4,
    Io = 5,
    Decoding = 6,
    Configuration = 7,
    TryAgainLater = 11,
    NotAvailable = 50,
    LimitedConnectivity = 51,
    /// The gate could not be attached, changed or detached.
    Gate = 100,
    /// CHECK found something else than ADD had made.
    NotInForce = 101,
    /// The agent holds the gate, and refused.
    Agent = 102,
    /// The plugin is there only to release pods.
    Uninstalled = 103,
}

impl Code {
    const fn meaning(self) -> &'static str {
        match self {
            Self::IncompatibleVersion => "incompatible CNI version",
            Self::Environment => "invalid environment variables",
            Self::Io => "I/O failure",
            Self::Decoding => "the network configuration can't be decoded",
            Self::Configuration => "invalid network configuration",
            Self::TryAgainLater => "try again later",
            Self::NotAvailable => "vrfgate is not available on this node",
            Self::LimitedConnectivity => {
                "vrfgate is not available on this node, and pods may have lost services to VRFs"
            }
            Self::Gate => "the gate could not be changed",
            Self::NotInForce => "the pod's gate is not as ADD made it",
            Self::Agent => "the vrfgate agent refused",
            Self::Uninstalled => "vrfgate is not installed any more",
        }
    }
}

/// Why a verb failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What failed, on what, and what to do about it.
    pub(crate) details: String,
}

impl Failure {
    pub(crate) fn new(code: Code, details: impl Into<String>) -> Self {
        Self {
            code,
            details: details.into(),
        }
    }

    /// The error result of the specification.
    pub(crate) fn to_json(&self, cni_version: &str) -> String {
        json!({
            "cniVersion": cni_version,
            "code": self.code as u32,
            "msg": self.code.meaning(),
            "details": self.details,
        })
        .to_string()
    }
}

/// An error of the loader, under the code that says who can do something about it.
impl From<vrfgate_ebpf::Error> for Failure {
    fn from(error: vrfgate_ebpf::Error) -> Self {
        use vrfgate_ebpf::Error;
        let code = match &error {
            Error::Busy { .. } => Code::TryAgainLater,
            Error::Rules(_) => Code::Configuration,
            Error::Io { .. } => Code::Io,
            _ => Code::Gate,
        };
        Self::new(code, error.to_string())
    }
}
