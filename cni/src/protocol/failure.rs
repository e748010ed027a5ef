//! What a runtime is told when a verb fails.

use serde_json::json;

/// Error codes: those of the specification below 100, our own from there on.
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
    /// The gate could not be put in, changed or taken away.
    Gate = 100,
    /// What CHECK found is not what ADD has done.
    NotInForce = 101,
    /// The agent looks after the gate, and refused.
    Agent = 102,
    /// The plugin stays only to let pods go.
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
            Self::Gate => "the gate is not as it should be",
            Self::NotInForce => "the gate of the pod is not what it was",
            Self::Agent => "the vrfgate agent refused",
            Self::Uninstalled => "vrfgate is not installed any more",
        }
    }
}

/// Why a verb failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What was being done, to what, and what to do about it.
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

/// An error of the loader, by whose business it is to do something about it.
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
