//! Checks whether every node has put its generation into force.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{EVERY, all, client, some_of};
use crate::api::{VrfGateNode, VrfLeak};

/// Reasons for which a leak may be unready without a fault: the VRF, the node or the pod doesn't exist yet.
const MAY_WAIT: [&str; 3] = ["Waiting", "NoNodes", "NoPods"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Number of nodes that have put their generation into force.
    pub nodes: usize,
    /// Number of leaks that are in force wherever they apply.
    pub in_force: usize,
    /// Number of leaks that are pending for want of a VRF, a node or a pod.
    pub waiting: usize,
    /// Problems, one sentence each.
    pub problems: Vec<String>,
}

/// Polls until there is no problem, or `timeout` has passed.
///
/// # Errors
///
/// When the cluster can't be asked.
pub async fn check(timeout: Duration) -> anyhow::Result<Verdict> {
    let client = client().await?;
    let gates: Api<VrfGateNode> = Api::all(client.clone());
    let leaks: Api<VrfLeak> = Api::all(client);
    let deadline = Instant::now() + timeout;
    let mut logged = Vec::new();
    loop {
        let gates = all(&gates, "listing the VrfGateNodes", deadline).await?;
        let leaks = all(&leaks, "listing the VrfLeaks", deadline).await?;
        let verdict = judge(&gates, &leaks);
        if verdict.problems.is_empty() || Instant::now() + EVERY >= deadline {
            return Ok(verdict);
        }
        if verdict.problems != logged {
            info!("waiting: {}", some_of(&verdict.problems));
            logged.clone_from(&verdict.problems);
        }
        sleep(EVERY).await;
    }
}

/// The verdict on these nodes and leaks.
#[must_use]
pub fn judge(gates: &[VrfGateNode], leaks: &[VrfLeak]) -> Verdict {
    let mut verdict = Verdict::default();
    if gates.is_empty() {
        let problem = "there is no VrfGateNode: does a controller run, and lead?";
        verdict.problems.push(problem.to_owned());
    }
    // A thousand nodes fail for the same few reasons.
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for gate in gates {
        match reason(gate) {
            None => verdict.nodes += 1,
            Some(reason) => by_reason.entry(reason).or_default().push(gate.name_any()),
        }
    }
    verdict.problems.extend(
        by_reason
            .into_iter()
            .map(|(reason, nodes)| format!("{reason}: {}", some_of(&nodes))),
    );
    for leak in leaks {
        let name = leak.name_any();
        let status = leak.status.as_ref();
        let ready = status
            .and_then(|status| condition(&status.conditions, "Ready"))
            .filter(|ready| ready.observed_generation == leak.metadata.generation);
        match ready {
            None => {
                let problem = format!("VrfLeak {name}: no controller has processed it");
                verdict.problems.push(problem);
            }
            Some(ready) if ready.status == "True" => verdict.in_force += 1,
            Some(ready) if MAY_WAIT.contains(&ready.reason.as_str()) => verdict.waiting += 1,
            Some(ready) => {
                let problem = format!("VrfLeak {name}: {}: {}", ready.reason, ready.message);
                verdict.problems.push(problem);
            }
        }
    }
    verdict
}

/// Why a node has not put its generation into force.
fn reason(gate: &VrfGateNode) -> Option<String> {
    let Some(status) = &gate.status else {
        return Some("nodes whose agent has not reported yet".to_owned());
    };
    if status.observed_generation != gate.metadata.generation {
        return Some("nodes whose agent has not reported on the newest generation".to_owned());
    }
    match condition(&status.conditions, "Ready") {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(format!(
            "nodes that could not put all into force ({})",
            ready.message
        )),
        None => Some("nodes whose agent doesn't report whether it is ready".to_owned()),
    }
}

fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
