//! Events, for what a person must act on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use super::{MANAGER, metrics::Metrics};
use crate::api::{VrfLeak, VrfLeakStatus};

/// Conditions that mean work for a person, and how they stand then.
const CALLS_FOR_ACTION: [(&str, &str); 3] = [
    ("Accepted", "False"),
    ("Conflicted", "True"),
    ("ReferencesResolved", "False"),
];
/// Of `Ready`, only this does; the others either pass or are told by another condition.
const READY_REASON: &str = "Failed";
/// What the API server takes.
const NOTE_MAX: usize = 1000;

/// What the new status says that the former didn't, and a person must act on.
pub fn news<'a>(former: Option<&VrfLeakStatus>, new: &'a VrfLeakStatus) -> Vec<&'a Condition> {
    let said_before = |condition: &Condition| {
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
        .filter(|condition| !said_before(condition))
        .collect()
}

/// Tells of them.
pub struct Events(Recorder);

impl Events {
    pub fn new(client: &Client) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Self(Recorder::new(client.clone(), reporter))
    }

    /// An event is told once; when that fails, the condition still says it.
    pub async fn tell(&self, leak: &VrfLeak, condition: &Condition, metrics: &Metrics) {
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
                warn!("telling of an event: {error}");
            }
        }
    }
}
