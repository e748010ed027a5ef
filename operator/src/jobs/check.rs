//! Whether every node has put its edition into force.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{EVERY, all, client, some_of};
use crate::api::{VrfGateNode, VrfLeak};

/// Why a leak may not be ready without anything being wrong: the VRF, the node or the pod is yet to come.
const MAY_WAIT: [&str; 3] = ["Waiting", "NoNodes", "NoPods"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Nodes that have put their edition into force.
    pub nodes: usize,
    /// Leaks in force wherever they apply.
    pub in_force: usize,
    /// Leaks that wait for a VRF, a node or a pod.
    pub waiting: usize,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}

/// Looks until nothing is wrong, or `patience` is over.
///
/// # Errors
///
/// When the cluster can't be asked.
pub async fn check(patience: Duration) -> anyhow::Result<Verdict> {
    let client = client().await?;
    let gates: Api<VrfGateNode> = Api::all(client.clone());
    let leaks: Api<VrfLeak> = Api::all(client);
    let deadline = Instant::now() + patience;
    let mut told = Vec::new();
    loop {
        let gates = all(&gates, "listing the VrfGateNodes", deadline).await?;
        let leaks = all(&leaks, "listing the VrfLeaks", deadline).await?;
        let verdict = judge(&gates, &leaks);
        if verdict.problems.is_empty() || Instant::now() + EVERY >= deadline {
            return Ok(verdict);
        }
        if verdict.problems != told {
            info!("waiting: {}", some_of(&verdict.problems));
            told.clone_from(&verdict.problems);
        }
        sleep(EVERY).await;
    }
}

/// What is to be said of these nodes and leaks.
#[must_use]
pub fn judge(gates: &[VrfGateNode], leaks: &[VrfLeak]) -> Verdict {
    let mut verdict = Verdict::default();
    if gates.is_empty() {
        let problem = "there is no VrfGateNode: does a controller run, and lead?";
        verdict.problems.push(problem.to_owned());
    }
    // A thousand nodes are wrong for the same few reasons.
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
                let problem = format!("VrfLeak {name}: no controller has looked at it");
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

/// Why a node has not put its edition into force.
fn reason(gate: &VrfGateNode) -> Option<String> {
    let Some(status) = &gate.status else {
        return Some("nodes whose agent has said nothing yet".to_owned());
    };
    if status.observed_generation != gate.metadata.generation {
        return Some("nodes whose agent has not told of the newest edition".to_owned());
    }
    match condition(&status.conditions, "Ready") {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(format!(
            "nodes that could not put all into force ({})",
            ready.message
        )),
        None => Some("nodes whose agent doesn't tell whether it is ready".to_owned()),
    }
}

fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
