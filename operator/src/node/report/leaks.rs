//! The state of each leak, and the reason for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vrfgate_core::{Desired, Leak, LeakName, NodeFacts, WaitingReason};

use super::routes;
use crate::node::{Refused, RouteOutcome};

/// One leak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeakReport {
    /// `metadata.name`
    pub name: String,
    /// The VRF it names.
    pub vrf: String,
    /// Its state.
    pub state: LeakState,
    /// Why it is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What a person should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The state of a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeakState {
    /// Its services are open.
    InForce,
    /// It waits for its VRF.
    Waiting,
    /// It can't be put into force, for [`LeakReport::reason`]. Other leaks are not affected.
    Failed,
}

/// Why a leak is not in force, as a word that programs can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// No device has the VRF's name.
    NoSuchDevice,
    /// A device has the VRF's name, and is no VRF.
    NotAVrf,
    /// The kernel doesn't say which routing table the VRF has.
    TableUnknown,
    /// An older leak opens or routes the same.
    Conflict,
    /// The gate's maps have no room for it beside older leaks.
    NoRoom,
    /// An unbound and a VRF-bound socket share a TCP port, and this kernel may crash if the gate came now.
    PortShared,
}

impl Reason {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchDevice => "NoSuchDevice",
            Self::NotAVrf => "NotAVrf",
            Self::TableUnknown => "TableUnknown",
            Self::Conflict => "Conflict",
            Self::NoRoom => "NoRoom",
            Self::PortShared => "PortShared",
        }
    }
}

/// The reports of leaks, in their order.
pub(super) fn reports(
    leaks: &[Leak],
    refused: &[Refused],
    desired: &Desired,
    routes: &RouteOutcome,
    facts: &NodeFacts,
) -> Vec<LeakReport> {
    let waiting: BTreeMap<&LeakName, WaitingReason> = desired
        .waiting
        .iter()
        .map(|waiting| (&waiting.leak, waiting.reason))
        .collect();
    let refused: BTreeMap<&LeakName, &Refused> = refused
        .iter()
        .map(|refused| (&refused.leak, refused))
        .collect();
    let reports = leaks.iter().map(|leak| {
        if let Some(refused) = refused.get(&leak.name) {
            return LeakReport {
                name: leak.name.to_string(),
                vrf: leak.vrf.to_string(),
                state: LeakState::Failed,
                reason: Some(refused.reason),
                notes: vec![refused.why.clone()],
            };
        }
        let reason = waiting.get(&leak.name);
        LeakReport {
            name: leak.name.to_string(),
            vrf: leak.vrf.to_string(),
            state: match reason {
                None => LeakState::InForce,
                Some(WaitingReason::NoSuchDevice | WaitingReason::NotAVrf) => LeakState::Waiting,
                Some(WaitingReason::TableUnknown) => LeakState::Failed,
            },
            reason: reason.map(|reason| match reason {
                WaitingReason::NoSuchDevice => Reason::NoSuchDevice,
                WaitingReason::NotAVrf => Reason::NotAVrf,
                WaitingReason::TableUnknown => Reason::TableUnknown,
            }),
            notes: match reason {
                Some(reason) => vec![waits_for(leak, *reason)],
                None => [
                    unmatched(leak, desired),
                    unmade(leak, desired),
                    routes::beaten(leak, desired, routes, facts),
                ]
                .concat(),
            },
        }
    });
    reports.collect()
}

fn waits_for(leak: &Leak, reason: WaitingReason) -> String {
    match reason {
        WaitingReason::NoSuchDevice => format!("waits for VRF {} to be created", leak.vrf),
        WaitingReason::NotAVrf => format!(
            "waits for VRF {}: a device of that name exists and is no VRF",
            leak.vrf
        ),
        WaitingReason::TableUnknown => format!(
            "makes no routes: the kernel doesn't say which routing table VRF {0} has (compare with \
             `ip -d link show {0}`)",
            leak.vrf
        ),
    }
}

fn unmatched(leak: &Leak, desired: &Desired) -> Vec<String> {
    let services = desired.vrfs.iter().flat_map(|vrf| &vrf.services);
    services
        .filter(|service| service.leak == leak.name)
        .flat_map(|service| {
            service.unmatched.iter().map(|prefix| {
                format!(
                    "service {} opens nothing in {prefix} until a local address is there",
                    service.service
                )
            })
        })
        .collect()
}

fn unmade(leak: &Leak, desired: &Desired) -> Vec<String> {
    desired
        .unmade_routes
        .iter()
        .filter(|route| route.leak == leak.name)
        .map(|route| format!("makes no route for {} {}", route.prefix, route.reason))
        .collect()
}
