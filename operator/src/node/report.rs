//! What a running `vrfgate` knows beyond the gate itself, written down for `vrfgate status`.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use vrfgate_ebpf::{Netns, Store, remove_replaced, replace_file};

use super::{Refusal, Refused, RouteOutcome, SteerOutcome, repairs::Repairs};
use crate::explain::Steered;
use vrfgate_core::{Desired, Leak, LeakName, NodeFacts, Prefix, WaitingReason, WantedRoute, Way};

/// Content of the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Leaks in force or waiting, in the order of the files.
    pub leaks: Vec<LeakReport>,
    /// Leak routes and return routes.
    #[serde(default)]
    pub routes: Vec<RouteReport>,
    /// Reply steering; absent when no leak asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steering: Option<SteeringReport>,
    /// Why what was asked for last is not in force. What was in force before still is.
    pub errors: Vec<String>,
    /// Why the gate is not in force yet, while it waits for somebody: no leak is in force meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// What a person should look into, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What something else did, and what was done about it.
    #[serde(default)]
    pub repairs: Repairs,
}

/// One leak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeakReport {
    /// `metadata.name`
    pub name: String,
    /// The VRF it names.
    pub vrf: String,
    /// What has become of it.
    pub state: LeakState,
    /// Why it is not in force, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What a person should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What has become of a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeakState {
    /// Its services are open.
    InForce,
    /// It waits for its VRF.
    Waiting,
    /// It can't be put into force, for [`LeakReport::reason`]. Others are not concerned.
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

/// A route that a leak asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReport {
    /// The leak.
    pub leak: String,
    /// As `ip route add` takes it.
    pub route: String,
    /// What has become of it.
    pub state: RouteState,
}

/// What has become of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteState {
    /// It is there, and vrfgate's own.
    Made,
    /// This route, which somebody else made, stands in its place. It was left alone.
    SomebodyElses(String),
    /// It is there, and the kernel uses this one instead of it, which somebody else made. Both were left alone.
    Overruled(String),
    /// The kernel won't have it, for this reason.
    Refused(String),
}

/// Reply steering of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SteeringReport {
    /// The bits that marks are made of, as `0x7f`.
    pub mask: String,
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
    /// What its answers are marked with, as `0x7f`.
    pub mark: String,
    /// Its questions' zone in the kernel's table of connections.
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
        let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let report = self.vrfs.iter().find(|report| report.vrf == vrf)?;
        Some(Steered {
            mark: (number(&report.mark)?, number(&self.mask)?),
            rules: report.services.clone(),
        })
    }
}

impl Report {
    /// What is in force, once leaks and facts have been reconciled.
    #[must_use]
    pub fn new(
        leaks: &[Leak],
        refused: &[Refused],
        desired: &Desired,
        routes: &RouteOutcome,
        facts: &NodeFacts,
    ) -> Self {
        let waiting: BTreeMap<&LeakName, WaitingReason> = desired
            .waiting
            .iter()
            .map(|waiting| (&waiting.leak, waiting.reason))
            .collect();
        let refused: BTreeMap<&LeakName, &Refused> = refused
            .iter()
            .map(|refused| (&refused.leak, refused))
            .collect();
        let leaks = leaks.iter().map(|leak| {
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
                    Some(WaitingReason::NoSuchDevice | WaitingReason::NotAVrf) => {
                        LeakState::Waiting
                    }
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
                        beaten(leak, desired, routes, facts),
                    ]
                    .concat(),
                },
            }
        });
        Self {
            leaks: leaks.collect(),
            routes: desired
                .routes
                .iter()
                .map(|route| route_report(route, routes, facts))
                .collect(),
            ..Self::default()
        }
    }

    /// Leaks of a gate that waits because TCP ports are shared.
    #[must_use]
    pub fn waiting_for_ports(mut self, why: &str) -> Self {
        for leak in &mut self.leaks {
            if leak.state == LeakState::InForce {
                leak.state = LeakState::Failed;
                leak.reason = Some(Reason::PortShared);
                leak.notes = vec![format!("is not in force: {why}")];
            }
        }
        self.waits = Some(why.to_owned());
        self
    }

    /// Notes what has become of reply steering.
    pub fn set_steering(&mut self, outcome: &SteerOutcome) {
        self.steering = steering_report(outcome);
    }

    /// Writes the report where [`Report::load`] finds it.
    pub fn save(&self, store: &Store, netns: &Netns) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        replace_file(&path(store, netns), &text)
    }

    /// The report of whoever looks, or last looked, after the namespace. `None` when there is none.
    pub fn load(store: &Store, netns: &Netns) -> io::Result<Option<Self>> {
        let path = path(store, netns);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                let what = format!("{}: {error}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, what)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the report; fine when there is none.
    pub fn remove(store: &Store, netns: &Netns) -> io::Result<()> {
        remove_replaced(&path(store, netns))
    }
}

fn path(store: &Store, netns: &Netns) -> PathBuf {
    store.companion(netns.id(), "report.json")
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

/// Routes of the leak that the kernel does not use, because of somebody else's.
fn beaten(
    leak: &Leak,
    desired: &Desired,
    outcome: &RouteOutcome,
    facts: &NodeFacts,
) -> Vec<String> {
    let of_leak = desired.routes.iter().filter(|it| it.leak == leak.name);
    let beaten = of_leak.filter_map(|route| {
        let theirs = match outcome.refused.get(&route.key) {
            Some(Refusal::SomebodyElses(theirs)) => theirs,
            Some(Refusal::Kernel(_)) => return None,
            None => outcome.overruled.get(&route.key)?,
        };
        // As good as ours.
        let delivers = theirs.is_local && matches!(route.way, Way::Local { .. });
        (!delivers).then(|| {
            format!(
                "can't have packets routed by `{}`: the kernel uses `{}`, which is not vrfgate's; remove that one, or \
                 have what made it (proto {}) leave it out",
                route_text(route, facts),
                theirs.text,
                theirs.made_by
            )
        })
    });
    beaten.collect()
}

fn steering_report(outcome: &SteerOutcome) -> Option<SteeringReport> {
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
        mark: format!("{:#x}", marked.mark),
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
        mask: steering.mask.to_string(),
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

fn route_report(wanted: &WantedRoute, outcome: &RouteOutcome, facts: &NodeFacts) -> RouteReport {
    RouteReport {
        leak: wanted.leak.to_string(),
        route: route_text(wanted, facts),
        state: match (
            outcome.refused.get(&wanted.key),
            outcome.overruled.get(&wanted.key),
        ) {
            (Some(Refusal::SomebodyElses(theirs)), _) => {
                RouteState::SomebodyElses(theirs.text.clone())
            }
            (Some(Refusal::Kernel(reason)), _) => RouteState::Refused(reason.clone()),
            (None, Some(theirs)) => RouteState::Overruled(theirs.text.clone()),
            (None, None) => RouteState::Made,
        },
    }
}

/// A route as `ip route add` takes it.
pub(super) fn route_text(wanted: &WantedRoute, facts: &NodeFacts) -> String {
    let name = |ifindex: u32| {
        facts
            .links
            .iter()
            .find(|link| link.ifindex == ifindex)
            .map_or_else(|| format!("if{ifindex}"), |link| link.name.clone())
    };
    let WantedRoute { leak: _, key, way } = wanted;
    let route = match way {
        Way::Local { device } => {
            let address = key.prefix.network();
            let to = if key.prefix == Prefix::host(address) {
                address.to_string()
            } else {
                key.prefix.to_string()
            };
            format!("local {to} dev {} table {}", name(*device), key.table)
        }
        Way::Device { device } => {
            format!("{} dev {} table {}", key.prefix, name(*device), key.table)
        }
        Way::Return { vrf, source } => format!("{} dev {} src {source}", key.prefix, name(*vrf)),
    };
    let metric = key
        .metric
        .map_or_else(String::new, |metric| format!(" metric {metric}"));
    route + &metric
}
