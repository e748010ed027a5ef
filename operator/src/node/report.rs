//! What a running `vrfgate` knows beyond the gate itself, written to a file for `vrfgate status`.

mod leaks;
mod routes;
mod steering;

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use vrfgate_core::{Desired, Leak, NodeFacts};
use vrfgate_ebpf::{Netns, Store};
use vrfgate_machine::{remove_replaced, replace_file};

pub(super) use self::routes::route_text;
pub use self::{
    leaks::{LeakReport, LeakState, Reason},
    routes::{RouteReport, RouteState},
    steering::{SteeredVrfReport, SteeringReport},
};
use super::{Refused, RouteOutcome, SteerOutcome, repairs::Repairs};

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
    /// Why the last request is not in force. What was in force before still is.
    pub errors: Vec<String>,
    /// Why the gate is not in force yet, while it waits for shared ports: no leak is in force meanwhile.
    #[serde(default, rename = "waits", skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// What a person should look into, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Repairs of what something else did.
    #[serde(default)]
    pub repairs: Repairs,
}

impl Report {
    /// The report on what is in force after a reconciliation.
    #[must_use]
    pub fn new(
        leaks: &[Leak],
        refused: &[Refused],
        desired: &Desired,
        routes: &RouteOutcome,
        facts: &NodeFacts,
    ) -> Self {
        Self {
            leaks: leaks::reports(leaks, refused, desired, routes, facts),
            routes: desired
                .routes
                .iter()
                .map(|route| routes::report(route, routes, facts))
                .collect(),
            ..Self::default()
        }
    }

    /// The same while the gate waits because TCP ports are shared.
    #[must_use]
    pub fn pending_for_ports(mut self, why: &str) -> Self {
        for leak in &mut self.leaks {
            if leak.state == LeakState::InForce {
                leak.state = LeakState::Failed;
                leak.reason = Some(Reason::PortShared);
                leak.notes = vec![format!("is not in force: {why}")];
            }
        }
        self.pending = Some(why.to_owned());
        self
    }

    /// Replaces the part on reply steering.
    pub fn set_steering(&mut self, outcome: &SteerOutcome) {
        self.steering = steering::report(outcome);
    }

    /// Writes the report where [`Report::load`] finds it.
    pub fn save(&self, store: &Store, netns: &Netns) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        replace_file(&path(store, netns), &text)
    }

    /// The report of the process that keeps the namespace, or kept it last. `None` when there is none.
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
