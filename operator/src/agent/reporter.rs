//! Writes the status of the `VrfGateNode`, and retries until that succeeds.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Error,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::MANAGER;
use crate::{
    api::{LeakOutcome, NodeLeakState, PodOutcome, VrfGateNode, VrfGateNodeStatus},
    outage::Outage,
};

/// Between tries, while the API server is away.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// What to write.
#[derive(Clone, Debug, PartialEq)]
struct Report {
    uid: String,
    generation: i64,
    outcomes: Outcomes,
}

/// States of leaks and pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    /// Of each leak, for the node or for pods.
    pub leaks: Vec<Arc<LeakOutcome>>,
    /// Of each pod.
    pub pods: Vec<PodOutcome>,
}

/// Writes in the background, so that an API server that hangs never delays a gate.
pub struct Reporter(watch::Sender<Option<Report>>);

impl Reporter {
    pub fn start(client: &Client, node: &str, outage: Outage) -> Self {
        let api: Api<VrfGateNode> = Api::all(client.clone());
        let (sender, reports) = watch::channel(None);
        tokio::spawn(write(api, node.to_owned(), reports, outage));
        Self(sender)
    }

    /// Publishes the outcomes of a generation of the object.
    pub fn publish(&self, uid: &str, generation: i64, outcomes: Outcomes) {
        let report = Some(Report {
            uid: uid.to_owned(),
            generation,
            outcomes,
        });
        self.0.send_if_modified(|last| {
            let differs = *last != report;
            *last = report;
            differs
        });
    }
}

async fn write(
    api: Api<VrfGateNode>,
    node: String,
    mut reports: watch::Receiver<Option<Report>>,
    outage: Outage,
) {
    let what = format!("writing the status of the VrfGateNode {node}");
    let mut former: Option<Condition> = None;
    while reports.changed().await.is_ok() {
        loop {
            let latest = reports.borrow_and_update().clone();
            let Some(latest) = latest else { break };
            let uid = latest.uid.clone();
            let status = status(latest, former.as_ref());
            match patch(&api, &node, &uid, &status).await {
                Ok(()) => {
                    outage.worked(&what);
                    former = status.conditions.into_iter().next();
                    break;
                }
                // The object is gone, or another one, which the watch will show.
                Err(Error::Api(answer)) if matches!(answer.code, 404 | 409) => {
                    outage.worked(&what);
                    break;
                }
                Err(error) => {
                    outage.failed(&what, &error);
                    sleep(RETRY_EVERY).await;
                }
            }
        }
    }
}

async fn patch(
    api: &Api<VrfGateNode>,
    node: &str,
    uid: &str,
    status: &VrfGateNodeStatus,
) -> Result<(), Error> {
    let patch = json!({
        "apiVersion": "vrfgate.dev/v1alpha1",
        "kind": "VrfGateNode",
        "metadata": {"name": node, "uid": uid},
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch_status(node, &parameters, &Patch::Apply(&patch))
        .await?;
    Ok(())
}

fn status(report: Report, former: Option<&Condition>) -> VrfGateNodeStatus {
    let Report {
        uid: _,
        generation,
        outcomes: Outcomes { leaks, pods },
    } = report;
    let failed: Vec<&str> = leaks
        .iter()
        .filter(|outcome| outcome.state == NodeLeakState::Failed)
        .map(|outcome| outcome.name.as_str())
        .collect();
    let ready = failed.is_empty();
    let status = if ready { "True" } else { "False" };
    let since = former.filter(|former| former.status == status).map_or_else(
        || Time(Timestamp::now()),
        |former| former.last_transition_time.clone(),
    );
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: if ready { "InForce" } else { "Failed" }.to_owned(),
        message: if ready {
            String::new()
        } else {
            format!("not in force: {}", failed.join(", "))
        },
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    VrfGateNodeStatus {
        observed_generation: Some(generation),
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        leaks_wanted: i64::try_from(leaks.len()).ok(),
        leaks,
        pods,
        conditions: vec![condition],
    }
}
