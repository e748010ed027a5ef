//! Versions of the CNI specification.

use super::{Code, Failure, Verb};

/// A version that the plugin supports, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SpecVersion {
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl SpecVersion {
    pub(crate) const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The version of answers to a call without one.
    pub(crate) const NEWEST: Self = Self::V1_1_0;

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version that a configuration names. According to the specification, it is 0.1.0 without a name.
    pub(crate) fn of(name: Option<&str>) -> Result<Self, Failure> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("0.1.0");
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                Failure::new(
                    Code::IncompatibleVersion,
                    format!(
                        "cniVersion: {name} is not among those that this plugin speaks: {known}"
                    ),
                )
            })
    }

    /// Refuses a verb that this version of the specification doesn't have.
    pub(crate) fn allow(self, verb: Verb) -> Result<(), Failure> {
        let since = match verb {
            Verb::Add | Verb::Del | Verb::Version => Self::V0_3_1,
            Verb::Check => Self::V0_4_0,
            Verb::Gc | Verb::Status => Self::V1_1_0,
        };
        if self >= since {
            return Ok(());
        }
        Err(Failure::new(
            Code::IncompatibleVersion,
            format!(
                "cniVersion: {} has no {}, which came with {}",
                self.as_str(),
                verb.as_str(),
                since.as_str()
            ),
        ))
    }
}

/// Whether the plugin can be used in a configuration list of this `cniVersion`.
///
/// # Errors
///
/// The plugin doesn't support the version.
pub fn check_version(name: Option<&str>) -> Result<(), String> {
    SpecVersion::of(name)
        .map(drop)
        .map_err(|failure| failure.details)
}
