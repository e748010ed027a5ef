//! Events for conditions that a person must act on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use super::{MANAGER, metrics::Metrics};
use crate::api::{VrfLeak, VrfLeakStatus};

/// Conditions that a person must act on, and their status then.
const CALLS_FOR_ACTION: [(&str, &str); 3] = [
    ("Accepted", "False"),
    ("Conflicted", "True"),
    ("ReferencesResolved", "False"),
];
/// The only reason of `Ready` that does; the others pass, or another condition reports them.
const READY_REASON: &str = "Failed";
/// Longest note that the API server takes, in bytes.
const NOTE_MAX: usize = 1000;

/// Conditions of the new status that the former doesn't have, and that a person must act on.
pub fn to_report<'a>(former: Option<&VrfLeakStatus>, new: &'a VrfLeakStatus) -> Vec<&'a Condition> {
    let reported_before = |condition: &Condition| {
        former
            .iter()
            .flat_map(|status| &status.conditions)
            .any(|former| {
                former.type_ == condition.type_
                    && former.reason == condition.reason
                    && former.message == condition.message
            })
    };
    new.conditions
        .iter()
        .filter(|condition| {
            CALLS_FOR_ACTION
                .iter()
                .any(|(kind, status)| condition.type_ == *kind && condition.status == *status)
                || (condition.type_ == "Ready" && condition.reason == READY_REASON)
        })
        .filter(|condition| !reported_before(condition))
        .collect()
}

/// Publishes them.
pub struct Events(Recorder);

impl Events {
    pub fn new(client: &Client) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Self(Recorder::new(client.clone(), reporter))
    }

    /// Publishes one event. When that fails, the condition still reports it.
    pub async fn publish(&self, leak: &VrfLeak, condition: &Condition, metrics: &Metrics) {
        let mut note = condition.message.clone();
        if note.len() > NOTE_MAX {
            let end = (0..=NOTE_MAX).rev().find(|end| note.is_char_boundary(*end));
            note.truncate(end.unwrap_or_default());
        }
        let event = Event {
            type_: EventType::Warning,
            reason: condition.reason.clone(),
            note: Some(note),
            action: "PutIntoForce".to_owned(),
            secondary: None,
        };
        match self.0.publish(&event, &leak.object_ref(&())).await {
            Ok(()) => metrics.wrote("event"),
            Err(error) => {
                metrics.failed("event");
                warn!("publishing an event: {error}");
            }
        }
    }
}
