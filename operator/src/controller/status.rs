//! The status of a leak. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::ResourceExt as _;

use super::{
    findings::{Findings, Placement},
    view::ViewedLeak,
};
use crate::api::{NodeCounts, NodeLeakState, VrfLeakStatus};

/// Nodes named in a message: of a thousand, the first few are enough to begin with.
const NAMED: usize = 5;

/// The nodes by the state of the leak there.
#[derive(Debug, Default)]
struct Tally<'a> {
    in_force: Vec<&'a str>,
    waiting: Vec<&'a str>,
    failed: Vec<&'a str>,
    conflicting: Vec<&'a str>,
    unreported: Vec<&'a str>,
    /// The first complaint of a node that failed.
    complaint: Option<String>,
    /// The reason that it gives.
    reason: Option<&'a str>,
}

/// The status of `leak`. Conditions whose status is that of the `former` one keep their time.
pub fn status(
    leak: &ViewedLeak,
    former: Option<&VrfLeakStatus>,
    findings: &Findings<'_>,
    now: Timestamp,
) -> VrfLeakStatus {
    let object = &leak.object;
    let tally = tally(leak, &findings.nodes);
    let mut conditions = Conditions {
        former: former.map_or(&[], |former| &former.conditions),
        generation: object.metadata.generation,
        now,
        list: Vec::new(),
    };
    let accepted = accepted(leak);
    conditions.set(
        "Accepted",
        accepted.is_ok(),
        match &accepted {
            Ok(()) => ("Accepted", String::new()),
            Err((reason, message)) => (reason, message.clone()),
        },
    );
    let conflicts: Vec<&str> = findings.conflicts.iter().map(String::as_str).collect();
    conditions.set(
        "Conflicted",
        !conflicts.is_empty(),
        if conflicts.is_empty() {
            ("NoConflict", String::new())
        } else {
            ("Conflict", some_of(&conflicts, "; "))
        },
    );
    if has_references(leak) {
        let dangling: Vec<&str> = findings.dangling.iter().map(String::as_str).collect();
        conditions.set(
            "ReferencesResolved",
            dangling.is_empty(),
            if dangling.is_empty() {
                ("Resolved", String::new())
            } else {
                ("NotFound", some_of(&dangling, "; "))
            },
        );
    }
    let (ready, reason, message) = ready(leak, findings, &tally, &accepted);
    conditions.set("Ready", ready, (reason, message));

    let count = |nodes: &[&str]| i64::try_from(nodes.len()).unwrap_or(i64::MAX);
    VrfLeakStatus {
        observed_generation: object.metadata.generation,
        services: i64::try_from(object.spec.services.len()).ok(),
        nodes: Some(NodeCounts {
            summary: format!("{}/{}", tally.in_force.len(), findings.nodes.len()),
            selected: i64::try_from(findings.nodes.len()).unwrap_or(i64::MAX),
            in_force: count(&tally.in_force),
            waiting: count(&tally.waiting),
            failed: count(&tally.failed) + count(&tally.conflicting),
            unreported: count(&tally.unreported),
        }),
        conditions: conditions.list,
    }
}

fn accepted(leak: &ViewedLeak) -> Result<(), (&'static str, String)> {
    match &leak.parsed {
        Err(errors) => {
            let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
            Err(("Invalid", some_of(&errors, "; ")))
        }
        Ok(_) => Ok(()),
    }
}

fn has_references(leak: &ViewedLeak) -> bool {
    leak.parsed
        .as_ref()
        .is_ok_and(|parsed| !parsed.references.is_empty())
}

fn ready<'a>(
    leak: &ViewedLeak,
    findings: &Findings<'_>,
    tally: &Tally<'a>,
    accepted: &Result<(), (&'a str, String)>,
) -> (bool, &'a str, String) {
    if leak.object.metadata.deletion_timestamp.is_some() {
        let held_by = some_of(&findings.held_by, ", ");
        return (
            false,
            "Deleting",
            format!("pending until it is released by {held_by}"),
        );
    }
    if let Err((reason, message)) = accepted {
        return (false, reason, message.clone());
    }
    if findings.nodes.is_empty() {
        return if leak.object.spec.pods.is_some() {
            let message = "spec.pods selects no pod that has a node".to_owned();
            (false, "NoPods", message)
        } else {
            let message = "spec.nodeSelector selects no Linux node".to_owned();
            (false, "NoNodes", message)
        };
    }
    let on = |nodes: &[&str]| some_of(nodes, ", ");
    if !tally.failed.is_empty() {
        let complaint = tally.complaint.as_deref().unwrap_or("no reason was given");
        let message = format!(
            "can't be put into force on {}: {complaint}",
            on(&tally.failed)
        );
        return (false, tally.reason.unwrap_or("Failed"), message);
    }
    if !tally.conflicting.is_empty() {
        let message = format!("another leak is in its way on {}", on(&tally.conflicting));
        return (false, "Conflict", message);
    }
    if !tally.unreported.is_empty() {
        let message = format!("not yet reported by {}", on(&tally.unreported));
        return (false, "Unreported", message);
    }
    if !tally.waiting.is_empty() {
        let vrf = &leak.object.spec.vrf;
        let message = format!("waits for the VRF {vrf} on {}", on(&tally.waiting));
        return (false, "Waiting", message);
    }
    (true, "InForce", String::new())
}

fn tally<'a>(leak: &ViewedLeak, nodes: &BTreeMap<&'a str, Placement<'a>>) -> Tally<'a> {
    let name = leak.object.name_any();
    let mut tally = Tally::default();
    for (node, placement) in nodes {
        let gate = match placement {
            Placement::InConflict => {
                tally.conflicting.push(node);
                continue;
            }
            Placement::Asked(gate) => gate,
        };
        let outcome = gate.and_then(|gate| {
            let status = gate.status.as_ref()?;
            // The endpoints of a reference change without a new generation of the leak.
            let behind = status.observed_generation < gate.metadata.generation;
            let outcome = status.leaks.iter().find(|outcome| outcome.name == name)?;
            let stale = Some(outcome.generation) != leak.object.metadata.generation
                || (behind && has_references(leak));
            (!stale).then_some(outcome)
        });
        let Some(outcome) = outcome else {
            tally.unreported.push(node);
            continue;
        };
        match outcome.state {
            NodeLeakState::InForce => tally.in_force.push(node),
            NodeLeakState::Waiting => tally.waiting.push(node),
            NodeLeakState::Failed => {
                tally.failed.push(node);
                if tally.complaint.is_none() {
                    tally.complaint = outcome.notes.first().cloned();
                    tally.reason = outcome.reason.as_deref();
                }
            }
        }
    }
    tally
}

fn some_of(items: &[&str], separator: &str) -> String {
    crate::some_of::some_of(items, NAMED, separator, " ")
}

/// Conditions being written.
struct Conditions<'a> {
    former: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    list: Vec<Condition>,
}

impl Conditions<'_> {
    fn set(&mut self, kind: &str, holds: bool, (reason, message): (&str, String)) {
        let status = if holds { "True" } else { "False" };
        let former = self.former.iter().find(|former| former.type_ == kind);
        let since = former
            .filter(|former| former.status == status)
            .map_or(Time(self.now), |former| former.last_transition_time.clone());
        self.list.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since,
        });
    }
}
