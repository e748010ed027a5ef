//! How soon a gate follows an edit.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{json, to_value};
use vrfgate_operator::api::VrfGateNode;

use crate::{real_node::NODE, scene::Scene};

/// How many edits are timed.
const EDITS: usize = 100;

impl Scene<'_> {
    /// Edits a leak again and again. Tells how long it takes from the node's changed object to its agent's word that
    /// the gate holds it, as the API server tells of both.
    pub async fn time_edits(&self, leak: &str) -> String {
        let nodes: Api<VrfGateNode> = Api::all(self.admin.clone());
        let only = watcher::Config::default().fields(&format!("metadata.name={NODE}"));
        let before = nodes.get(NODE).await.unwrap();
        let mut generation = before.metadata.generation.unwrap_or_default();
        let mut events = pin!(watcher(nodes, only).default_backoff().applied_objects());
        let spec = self.leaks.get(leak).await.unwrap().spec;
        let mut services = to_value(spec.services).unwrap();
        let mut times = Vec::with_capacity(EDITS);
        for edit in 0..EDITS {
            services[0]["sources"] = json!(["10.20.0.0/16", format!("10.99.{edit}.0/24")]);
            let patch = Patch::Merge(json!({"spec": {"services": services}}));
            let patched = self
                .leaks
                .patch(leak, &PatchParams::default(), &patch)
                .await;
            patched.unwrap();
            let mut changed = None;
            loop {
                let node = events.try_next().await.unwrap().expect("a watch goes on");
                let current = node.metadata.generation.unwrap_or_default();
                if current > generation {
                    changed = Some(Instant::now());
                }
                generation = current;
                let observed = node.status.and_then(|status| status.observed_generation);
                if observed == Some(generation) && changed.is_some() {
                    break;
                }
            }
            times.extend(changed.map(|changed| changed.elapsed()));
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "{} edits, object to gate: median {:.0} ms, 99 of 100 {:.0} ms",
            times.len(),
            milliseconds(at(50)),
            milliseconds(at(99)),
        )
    }
}
