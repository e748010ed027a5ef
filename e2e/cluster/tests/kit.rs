//! Words that tests of the controller are written in.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
    events::v1::Event,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vrfgate_cluster::{Pages, Process, free_port};
use vrfgate_operator::api::{VrfGateNode, VrfLeak};

use crate::{accounts, suite::Suite};

/// How long something may take that must come. Generous: machines that build at the same time are slow.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A controller that hasn't looked again for so long has nothing to look for.
const QUIET: Duration = Duration::from_millis(700);

/// An empty cluster, and what a test does with it.
pub struct Kit<'a> {
    pub suite: &'a Suite,
    pub leaks: Api<VrfLeak>,
    pub gates: Api<VrfGateNode>,
    pub nodes: Api<Node>,
    pub services: Api<Service>,
    pub slices: Api<EndpointSlice>,
    pub events: Api<Event>,
}

impl<'a> Kit<'a> {
    /// Takes away what earlier tests have left.
    pub async fn new(suite: &'a Suite) -> Self {
        let admin = suite.admin.clone();
        let kit = Self {
            suite,
            leaks: Api::all(admin.clone()),
            gates: Api::all(admin.clone()),
            nodes: Api::all(admin.clone()),
            services: Api::default_namespaced(admin.clone()),
            slices: Api::default_namespaced(admin.clone()),
            events: Api::default_namespaced(admin.clone()),
        };
        for leak in kit.leaks.list(&ListParams::default()).await.unwrap() {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let _ = kit
                .leaks
                .patch(&leak.name_any(), &PatchParams::default(), &patch)
                .await;
        }
        let all = ListParams::default();
        let now = DeleteParams::default();
        let pods: Api<Pod> = Api::namespaced(admin.clone(), accounts::NAMESPACE);
        for pod in pods.list(&all).await.unwrap() {
            let at_once = DeleteParams::default().grace_period(0);
            let _ = pods.delete(&pod.name_any(), &at_once).await;
        }
        kit.leaks.delete_collection(&now, &all).await.unwrap();
        kit.nodes.delete_collection(&now, &all).await.unwrap();
        kit.gates.delete_collection(&now, &all).await.unwrap();
        kit.slices.delete_collection(&now, &all).await.unwrap();
        kit.events.delete_collection(&now, &all).await.unwrap();
        let leases: Api<Lease> = Api::namespaced(admin, accounts::NAMESPACE);
        leases.delete_collection(&now, &all).await.unwrap();
        for service in kit.services.list(&all).await.unwrap() {
            if service.name_any() != "kubernetes" {
                let _ = kit.services.delete(&service.name_any(), &now).await;
            }
        }
        kit
    }

    /// A node with one label and one address.
    pub async fn node(&self, name: &str, role: &str, address: &str) {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"role": role, "kubernetes.io/os": "linux"}},
        });
        create(&self.nodes, node).await;
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        self.nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    /// Changes the role of a node.
    pub async fn relabel(&self, name: &str, role: &str) {
        merge(
            &self.nodes,
            name,
            json!({"metadata": {"labels": {"role": role}}}),
        )
        .await;
    }

    /// A leak with this `spec`, in YAML's flow style without the braces.
    pub async fn leak(&self, name: &str, spec: &str) {
        let spec: Value = serde_saphyr::from_str(&format!("{{{spec}}}")).unwrap();
        let leak = json!({
            "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfLeak",
            "metadata": {"name": name}, "spec": spec,
        });
        create(&self.leaks, leak).await;
    }

    /// The Service `frontend` with the TCP port `http`.
    pub async fn service(&self) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "frontend"},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        });
        create(&self.services, service).await;
    }

    /// The endpoints of `frontend`: nodes and addresses, all on one port.
    pub async fn endpoints(&self, port: u16, endpoints: &[(&str, &str)]) {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(node, address)| json!({"nodeName": node, "addresses": [address]}))
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "frontend-1", "labels": {"kubernetes.io/service-name": "frontend"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        let parameters = PatchParams::apply("test").force();
        self.slices
            .patch("frontend-1", &parameters, &Patch::Apply(slice))
            .await
            .unwrap();
    }

    /// What the gate of a node shall hold: `leak: service protocol address:port, …`, one line a leak.
    pub async fn gate(&self, node: &str) -> Option<Vec<String>> {
        let gate = self.gates.get_opt(node).await.unwrap()?;
        let leaks = gate.spec.leaks.iter().map(|leak| {
            let services = leak.services.iter().map(|service| {
                let addresses = service.addresses.join(" ");
                format!("{} {addresses} {}", service.name, service.port)
            });
            let services: Vec<String> = services.collect();
            format!("{} {}: {}", leak.name, leak.mode, services.join(", "))
        });
        Some(leaks.collect())
    }

    /// Waits until the gate of a node shall hold exactly this.
    pub async fn gate_becomes(&self, node: &str, wanted: &[&str]) {
        eventually(&format!("the gate of {node}"), async || {
            match self.gate(node).await {
                Some(leaks) if leaks == wanted => Ok(()),
                other => Err(format!("{other:?} instead of {wanted:?}")),
            }
        })
        .await;
    }

    /// Waits until a condition of a leak has this reason, and returns its message.
    pub async fn condition_becomes(&self, leak: &str, kind: &str, reason: &str) -> String {
        eventually(&format!("{kind} of {leak}"), async || {
            let leak = self.leaks.get(leak).await.unwrap();
            let status = leak.status.unwrap_or_default();
            let generation = leak.metadata.generation;
            let condition = status.conditions.iter().find(|condition| {
                condition.type_ == kind
                    && condition.reason == reason
                    && condition.observed_generation == generation
            });
            condition
                .map(|condition| condition.message.clone())
                .ok_or_else(|| format!("{:?}", status.conditions))
        })
        .await
    }

    /// Waits until there is an event with this reason about a leak.
    pub async fn event_comes(&self, leak: &str, reason: &str) -> String {
        eventually(&format!("an event {reason} of {leak}"), async || {
            let events = self.events.list(&ListParams::default()).await.unwrap();
            events
                .iter()
                .find(|event| {
                    let regarding = event.regarding.clone().unwrap_or_default();
                    regarding.name.as_deref() == Some(leak)
                        && event.reason.as_deref() == Some(reason)
                })
                .map(|event| event.note.clone().unwrap_or_default())
                .ok_or_else(|| {
                    let events = events.iter().map(|event| (&event.reason, &event.note));
                    format!("{:?}", events.collect::<Vec<_>>())
                })
        })
        .await
    }

    pub async fn is_gone(&self, leak: &str) {
        eventually(&format!("the end of {leak}"), async || {
            match self.leaks.get_opt(leak).await.unwrap() {
                None => Ok(()),
                Some(leak) => Err(format!("{:?}", leak.status)),
            }
        })
        .await;
    }

    /// The version of every object that the controller writes.
    pub async fn versions(&self) -> BTreeMap<String, String> {
        let leaks = self.leaks.list(&ListParams::default()).await.unwrap();
        let gates = self.gates.list(&ListParams::default()).await.unwrap();
        let leaks = leaks
            .iter()
            .map(|leak| (format!("leak {}", leak.name_any()), leak.resource_version()));
        let gates = gates
            .iter()
            .map(|gate| (format!("gate {}", gate.name_any()), gate.resource_version()));
        leaks
            .chain(gates)
            .map(|(name, version)| (name, version.unwrap_or_default()))
            .collect()
    }

    /// Starts a controller; it ends with the value.
    pub async fn controller(&self, identity: &str) -> Controller {
        let token = accounts::controller_token(&self.suite.admin).await;
        let cluster = self.suite.cluster.lock().unwrap();
        let kubeconfig = cluster
            .write_token_kubeconfig("controller", &token)
            .unwrap();
        let port = free_port().unwrap();
        let arguments = [
            "controller".to_owned(),
            format!("--metrics-addr=127.0.0.1:{port}"),
            format!("--lease-namespace={}", accounts::NAMESPACE),
            format!("--identity={identity}"),
        ];
        let environment = [("KUBECONFIG", kubeconfig.display().to_string())];
        let process = Process::start(
            identity,
            &program("vrfgate"),
            &arguments,
            &environment,
            cluster.home(),
        );
        Controller {
            process: process.unwrap(),
            pages: Pages { port },
            slices: self.slices.clone(),
        }
    }
}

/// A program that was built along with the tests.
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join(name);
    assert!(program.exists(), "{} isn't built", program.display());
    program
}

/// A controller at work.
pub struct Controller {
    pub process: Process,
    pages: Pages,
    slices: Api<EndpointSlice>,
}

impl Controller {
    /// Status and body of a page; `None` while nobody answers.
    pub fn get(&self, page: &str) -> Option<(u16, String)> {
        self.pages.get(page)
    }

    /// The value of a metric, labels included in its name; 0 if there is none.
    pub fn metric(&self, name: &str) -> f64 {
        self.pages.metric(name)
    }

    /// Waits until it has looked at the whole cluster once more, and sees no reason to do so again.
    pub async fn looks_again(&self) {
        let looks = || self.metric("vrfgate_controller_pass_seconds_count");
        let before = looks();
        // It may have looked already at whatever was done: this is something new, and no leak's business.
        let at = format!("{:?}", SystemTime::now());
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "nobodys", "annotations": {"at": at}},
            "addressType": "IPv4", "endpoints": [],
        });
        let parameters = PatchParams::apply("test").force();
        self.slices
            .patch("nobodys", &parameters, &Patch::Apply(slice))
            .await
            .unwrap();
        eventually("another look at the cluster", async || {
            let now = looks();
            sleep(QUIET).await;
            if now > before && looks() <= now {
                Ok(())
            } else {
                Err(self.process.last_words())
            }
        })
        .await;
    }

    /// Waits until it leads.
    pub async fn leads(&self) {
        eventually("leadership", async || {
            if self.metric("vrfgate_controller_leading") > 0.0 {
                Ok(())
            } else {
                Err(self.process.last_words())
            }
        })
        .await;
    }
}

/// Tries until it works, and fails after the timeout.
pub async fn eventually<T, E: Debug>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Creates what is given as JSON.
pub async fn create<K>(api: &Api<K>, object: Value)
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Changes part of an object.
pub async fn merge<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// Deletes an object.
pub async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    api.delete(name, &DeleteParams::default()).await.unwrap();
}
