//! One pass over the whole cluster: compares the desired state with the current one, and writes what differs.

use std::{
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
    sync::Arc,
    time::Instant,
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Error, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::watch;
use tracing::{error, info};
use vrfgate_core::{FleetLeak, Leak, NodePlan, PlacedLeak, Planner};

use super::{
    MANAGER,
    events::{self, Events},
    findings::findings,
    gates::{Gates, WantedGate},
    kept::Kept,
    metrics::Metrics,
    recent::Recent,
    status,
    view::{View, ViewedLeak},
    world::World,
};
use crate::api::{GateLeak, GatePod, VrfGateNode, VrfGateNodeSpec, VrfLeak, VrfLeakStatus};

/// Keeps a leak until every node has released it.
const FINALIZER: &str = "vrfgate.dev/nodes-let-go";

/// What passes need, and what they have written last.
pub struct Pass {
    leaks: Api<VrfLeak>,
    world: Arc<World>,
    metrics: Arc<Metrics>,
    gates: Gates,
    events: Events,
    /// Statuses written last, by the leak's uid.
    statuses: Recent<VrfLeakStatus>,
    /// Finalizers of leaks that were new, by the leak's uid.
    finalizers: Recent<Vec<String>>,
}

impl Pass {
    pub fn new(client: &Client, world: Arc<World>, metrics: Arc<Metrics>) -> Self {
        Self {
            leaks: Api::all(client.clone()),
            gates: Gates::new(client, Arc::clone(&world), Arc::clone(&metrics)),
            events: Events::new(client),
            world,
            metrics,
            statuses: Recent::default(),
            finalizers: Recent::default(),
        }
    }

    /// Forgets what this replica has written: another one may have written since.
    pub fn forget(&mut self) {
        self.gates.forget();
        self.statuses.clear();
        self.finalizers.clear();
    }

    /// Brings everything in line, while this replica leads. Returns how many writes failed.
    pub async fn run(&mut self, leading: &watch::Receiver<bool>) -> usize {
        let started = Instant::now();
        if self.world.needs_pods() && !self.world.knows_pods() {
            // Without the list, pods would lose what they have.
            info!("waiting for the list of pods");
            return 0;
        }
        let mut view = View::new(&self.world);
        let mut failures = self.hold_new_leaks(&mut view).await;

        let placed: Vec<FleetLeak> = view.leaks.iter().filter_map(placeable).cloned().collect();
        let mut planner = Planner::new(&placed, &view.endpoints);
        let plans: BTreeMap<&str, Arc<NodePlan>> = view
            .nodes
            .iter()
            .map(|(name, viewed)| {
                let pods = view.pods.get(name).map_or(&[][..], Vec::as_slice);
                (name.as_str(), planner.plan(&viewed.node, pods))
            })
            .collect();
        let mut wire = Wire::default();
        let mut wanted: BTreeMap<String, WantedGate> = plans
            .iter()
            .filter_map(|(name, plan)| {
                Some(((*name).to_owned(), wanted(&view, name, plan, &mut wire)?))
            })
            .collect();
        let kept = Kept::new(&view);
        for (name, gate) in self.gates.current() {
            if let Some(wanted) = wanted.get_mut(&name) {
                let pods = view.pods.get(&name).map_or(&[][..], Vec::as_slice);
                kept.add(&mut wanted.spec, &gate.spec, pods);
            }
        }
        failures += self.gates.write(&wanted, leading).await;

        let gates = self.gates.current();
        let mut found = findings(&view, &plans, &gates);
        let now = this_second();
        let mut ready = 0;
        for leak in &view.leaks {
            if !*leading.borrow() {
                break;
            }
            let findings = found.remove(&*leak.object.name_any()).unwrap_or_default();
            if is_deleted(&leak.object) && findings.held_by.is_empty() {
                failures += self.release(&leak.object).await;
                continue;
            }
            let former = self.last_status(&leak.object);
            let status = status::status(leak, former.as_ref(), &findings, now);
            ready += usize::from(is_ready(&status));
            if former.as_ref() != Some(&status) {
                failures += self.write_status(&leak.object, former, status).await;
            }
        }
        self.count(&view, &gates, ready);
        self.metrics
            .pass_seconds
            .observe(started.elapsed().as_secs_f64());
        failures
    }

    /// Adds the finalizer to new leaks: no leak reaches a node before its removal from there is certain. The view shows the
    /// finalizer at once, so that a node isn't written first without the leak and then with it.
    async fn hold_new_leaks(&mut self, view: &mut View) -> usize {
        let mut failures = 0;
        for leak in &mut view.leaks {
            let object = &mut leak.object;
            let uid = object.uid().unwrap_or_default();
            let held = self.finalizers.get(&uid, |_| is_held(object));
            if let Some(finalizers) = held {
                // The cache lags behind; by it, the leak would be withdrawn from its nodes.
                Arc::make_mut(object).metadata.finalizers = Some(finalizers.clone());
            }
            if is_deleted(object) || is_held(object) {
                continue;
            }
            let mut finalizers = object.finalizers().to_vec();
            finalizers.push(FINALIZER.to_owned());
            let written = self.write_finalizers(object, &finalizers).await;
            if written.is_ok() {
                Arc::make_mut(object).metadata.finalizers = Some(finalizers.clone());
                self.finalizers.note(&uid, finalizers);
            }
            failures += self.outcome("finalizer", object, written);
        }
        failures
    }

    async fn release(&self, leak: &VrfLeak) -> usize {
        if !is_held(leak) {
            return 0;
        }
        info!(leak = leak.name_any(), "every node has released it");
        let others = leak.finalizers().iter().filter(|name| *name != FINALIZER);
        let finalizers: Vec<String> = others.cloned().collect();
        let written = self.write_finalizers(leak, &finalizers).await;
        self.outcome("finalizer", leak, written)
    }

    async fn write_finalizers(
        &self,
        leak: &VrfLeak,
        finalizers: &[String],
    ) -> Result<VrfLeak, Error> {
        // With the version, no finalizer that another client adds meanwhile is lost.
        let patch = json!({"metadata": {
            "resourceVersion": leak.resource_version(),
            "finalizers": finalizers,
        }});
        let parameters = PatchParams::default();
        let patch = Patch::Merge(&patch);
        self.leaks
            .patch(&leak.name_any(), &parameters, &patch)
            .await
    }

    /// The status that was written last, which the cache may not have yet.
    fn last_status(&mut self, leak: &VrfLeak) -> Option<VrfLeakStatus> {
        let uid = leak.uid().unwrap_or_default();
        let known = leak.status.as_ref();
        let written = self.statuses.get(&uid, |written| known == Some(written));
        written.or(known).cloned()
    }

    async fn write_status(
        &mut self,
        leak: &VrfLeak,
        former: Option<VrfLeakStatus>,
        status: VrfLeakStatus,
    ) -> usize {
        let uid = leak.uid().unwrap_or_default();
        let patch = json!({
            "apiVersion": "vrfgate.dev/v1alpha1",
            "kind": "VrfLeak",
            // Not a newer leak of the same name.
            "metadata": {"name": leak.name_any(), "uid": uid},
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let written = self
            .leaks
            .patch_status(&leak.name_any(), &parameters, &Patch::Apply(&patch))
            .await;
        let failures = self.outcome("status", leak, written);
        if failures == 0 {
            for condition in events::to_report(former.as_ref(), &status) {
                self.events.publish(leak, condition, &self.metrics).await;
            }
            self.statuses.note(&uid, status);
        }
        failures
    }

    /// 1 for a write that has to be tried again.
    fn outcome(
        &self,
        what: &'static str,
        leak: &VrfLeak,
        written: Result<VrfLeak, Error>,
    ) -> usize {
        match written {
            Ok(_) => {
                self.metrics.wrote(what);
                0
            }
            // Gone, or changed by another client: the watch reports that, and another pass follows.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => 0,
            Err(error) => {
                error!(leak = leak.name_any(), "writing the {what} of it: {error}");
                self.metrics.failed(what);
                1
            }
        }
    }

    fn count(&self, view: &View, gates: &BTreeMap<String, Arc<VrfGateNode>>, ready: usize) {
        let up_to_date = gates.values().filter(|gate| {
            let status = gate.status.as_ref();
            status.is_some_and(|status| status.observed_generation == gate.metadata.generation)
        });
        let up_to_date = up_to_date.count();
        self.metrics.set_nodes("reported", up_to_date);
        let unreported = gates.len().saturating_sub(up_to_date);
        self.metrics.set_nodes("unreported", unreported);
        self.metrics.set_leaks("ready", ready);
        let unready = view.leaks.len().saturating_sub(ready);
        self.metrics.set_leaks("unready", unready);
    }
}

/// As precise as the API: what is read back equals what was written.
fn this_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn is_deleted(leak: &VrfLeak) -> bool {
    leak.metadata.deletion_timestamp.is_some()
}

fn is_held(leak: &VrfLeak) -> bool {
    leak.finalizers().iter().any(|name| name == FINALIZER)
}

fn is_ready(status: &VrfLeakStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The leak, if it may be given to nodes.
fn placeable(leak: &ViewedLeak) -> Option<&FleetLeak> {
    let parsed = leak.parsed.as_ref().ok()?;
    (is_held(&leak.object) && !is_deleted(&leak.object)).then_some(parsed)
}

/// Leaks in their wire form, each made once for all nodes that have it.
#[derive(Default)]
struct Wire<'a> {
    /// By the address of a leak, which no other leak has while the plans exist.
    forms: HashMap<*const Leak, Arc<GateLeak>>,
    plans: PhantomData<&'a NodePlan>,
}

impl<'a> Wire<'a> {
    fn form(&mut self, placed: &'a PlacedLeak) -> Arc<GateLeak> {
        let PlacedLeak { leak, generation } = placed;
        let form = self
            .forms
            .entry(Arc::as_ptr(leak))
            .or_insert_with(|| GateLeak::new(leak, *generation).into());
        Arc::clone(form)
    }

    fn forms(&mut self, placed: &'a [PlacedLeak]) -> Vec<Arc<GateLeak>> {
        placed.iter().map(|placed| self.form(placed)).collect()
    }
}

fn wanted<'a>(
    view: &View,
    node: &str,
    plan: &'a NodePlan,
    wire: &mut Wire<'a>,
) -> Option<WantedGate> {
    let pods = plan.pods.iter().map(|pod| GatePod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        leaks: pod.leaks.iter().map(ToString::to_string).collect(),
    });
    Some(WantedGate {
        node_uid: view.nodes.get(node)?.uid.clone(),
        spec: VrfGateNodeSpec {
            leaks: wire.forms(&plan.leaks),
            pods: pods.collect(),
            pod_leaks: wire.forms(&plan.pod_leaks),
        },
    })
}
