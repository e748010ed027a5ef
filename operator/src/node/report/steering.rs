//! The state of reply steering. Marks and masks are numbers here, and text such as `0x7f` in JSON.

use serde::{Deserialize, Serialize};
use vrfgate_core::MarkMask;

use crate::{facts::Steered, node::SteerOutcome};

/// Reply steering of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SteeringReport {
    /// The bits that marks are made of.
    #[serde(with = "text")]
    pub mask: MarkMask,
    /// VRFs whose UDP answers are steered.
    pub vrfs: Vec<SteeredVrfReport>,
    /// What a person should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// VRFs that the mask has no room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Why it isn't in force. What was in force before still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// One steered VRF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SteeredVrfReport {
    /// Its name.
    pub vrf: String,
    /// The mark of its answers.
    #[serde(with = "hexadecimal")]
    pub mark: u32,
    /// The conntrack zone of its requests.
    pub zone: u16,
    /// The routing table that its answers are routed by.
    pub table: u32,
    /// Services, as `leak/service`.
    pub services: Vec<String>,
}

impl SteeringReport {
    /// How answers into a VRF are steered; `None` when they aren't.
    #[must_use]
    pub fn of(&self, vrf: &str) -> Option<Steered> {
        let report = self.vrfs.iter().find(|report| report.vrf == vrf)?;
        Some(Steered {
            mark: (report.mark, self.mask.bits()),
            rules: report.services.clone(),
        })
    }
}

pub(super) fn report(outcome: &SteerOutcome) -> Option<SteeringReport> {
    let SteerOutcome {
        steering,
        changed: _,
        refused,
        unrouted,
    } = outcome;
    if steering.vrfs.is_empty() && steering.left_out.is_empty() {
        return None;
    }
    let vrfs = steering.vrfs.iter().map(|marked| SteeredVrfReport {
        vrf: marked.vrf.name.clone(),
        mark: marked.mark,
        zone: marked.zone,
        table: marked.vrf.table,
        services: marked
            .vrf
            .services
            .iter()
            .map(|service| format!("{}/{}", service.leak, service.service))
            .collect(),
    });
    Some(SteeringReport {
        mask: steering.mask,
        vrfs: vrfs.collect(),
        notes: unrouted
            .iter()
            .map(|(vrf, address)| {
                format!(
                    "answers to clients of VRF {vrf} near {address} fail before they can be steered: the main \
                     table has no route towards them (a default route is enough)"
                )
            })
            .collect(),
        left_out: steering.left_out.clone(),
        refused: refused.clone(),
    })
}

/// What displays and parses as text.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A number as hexadecimal text.
mod hexadecimal {
    use std::fmt::LowerHex;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: LowerHex, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:#x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let text = String::deserialize(from)?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_masks_are_hexadecimal_text_in_json() {
        let report = SteeringReport {
            mask: MarkMask::default(),
            vrfs: vec![SteeredVrfReport {
                vrf: "BLUE".to_owned(),
                mark: 0x7e,
                zone: 9,
                table: 10,
                services: Vec::new(),
            }],
            notes: Vec::new(),
            left_out: Vec::new(),
            refused: None,
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            r#"{"mask":"0x7f","vrfs":[{"vrf":"BLUE","mark":"0x7e","zone":9,"table":10,"services":[]}]}"#
        );
        assert_eq!(
            serde_json::from_str::<SteeringReport>(&text).unwrap(),
            report
        );
    }
}
