//! A whole cluster with a real node, and vrfgate as its Helm chart and its image: what is done to it, and how a client in
//! a management VRF judges it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use vrfgate_cluster::{ControlPlane, HOST_OF_VM, Helm};
use vrfgate_operator::api::VrfLeak;

use crate::{
    accounts::NAMESPACE,
    chart::CHART,
    kit::{create, eventually},
    real_node::NODE,
    suite::Suite,
    vm::{Kind, Vm, directory, kubeconfig, logs, said},
};

/// The version that is installed, and the one that comes after it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
pub const NEXT: &str = "99.0.0-next";

pub const SSH: &str = "connect to 192.0.2.1:22";
pub const WEB: &str = "connect to 192.0.2.1:80";
pub const REACHED_SSH: &str = "reached \"ssh\"";
pub const REFUSED: &str = "was refused";

/// A node that is ready for pods and has nothing of vrfgate, and the cluster that it belongs to.
pub struct Scene<'a> {
    suite: &'a Suite,
    // Dropped in this order: nothing may ask the API server after its end.
    pub vm: Vm,
    /// How an administrator reaches the cluster.
    pub kubeconfig: PathBuf,
    pub helm: Helm,
    pub admin: Client,
    pub pods: Api<Pod>,
    pub leaks: Api<VrfLeak>,
    /// How the node stood before anything was installed.
    pub before: String,
    _cluster: ControlPlane,
}

impl<'a> Scene<'a> {
    /// The machine is that of the last test, unless it failed.
    pub async fn new(suite: &'a Suite) -> Self {
        let cluster = block_in_place(ControlPlane::start_whole).unwrap();
        let admin = cluster.client(&cluster.admin()).await.unwrap();
        let admins = cluster.write_kubeconfig("helm", &cluster.admin()).unwrap();
        let last = suite.worker.lock().unwrap().take();
        let mut vm = last.unwrap_or_else(|| Vm::boot(Kind::Worker).unwrap());
        let node = cluster.user(&format!("system:node:{NODE}"), "system:nodes");
        let config = cluster.kubeconfig_at(HOST_OF_VM, &node.unwrap());
        fs::write(kubeconfig("kubelet"), config).unwrap();
        vm.tell(&format!("join the cluster at {}", cluster.port()));
        vm.tell("start the kubelet");
        for version in [VERSION, NEXT] {
            vm.tell(&format!("import {}", image(version).display()));
        }
        let mut scene = Self {
            suite,
            helm: Helm::of(&admins),
            kubeconfig: admins,
            pods: Api::namespaced(admin.clone(), NAMESPACE),
            leaks: Api::all(admin.clone()),
            before: String::new(),
            admin,
            vm,
            _cluster: cluster,
        };
        scene.node_is_ready().await;
        scene.before = scene.state();
        scene
    }

    async fn node_is_ready(&self) {
        let nodes: Api<Node> = Api::all(self.admin.clone());
        eventually("a node that is ready", async || {
            let node = nodes.get_opt(NODE).await.unwrap();
            let status = node.and_then(|node| node.status).unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            if conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True")
            {
                Ok(())
            } else {
                Err(format!("{conditions:?}\n{}", said()))
            }
        })
        .await;
    }

    pub fn state(&mut self) -> String {
        self.vm.tell("how does everything stand?")
    }

    /// helm, on the release `vrfgate`.
    pub async fn helm(&self, arguments: &[&str]) -> String {
        let namespace = format!("--namespace={NAMESPACE}");
        let arguments = [arguments, &[namespace.as_str(), "--timeout=3m"]].concat();
        match block_in_place(|| self.helm.run(&arguments)) {
            Ok(said) => said,
            Err(error) => panic!("{error:#}\n{}\n{}", self.pods().await, said()),
        }
    }

    pub async fn install(&self, settings: &[&str]) {
        let install = ["install", "vrfgate", CHART, "--create-namespace", "--wait"];
        self.helm(&[&install, SETTINGS, settings].concat()).await;
    }

    pub async fn upgrade(&self, settings: &[&str]) {
        let upgrade = ["upgrade", "vrfgate", CHART, "--wait"];
        self.helm(&[&upgrade, SETTINGS, settings].concat()).await;
    }

    /// What has become of every pod of the release.
    async fn pods(&self) -> String {
        let pods = self.pods.list(&ListParams::default()).await.unwrap();
        let pods = pods
            .iter()
            .map(|pod| format!("{}: {:?}", pod.name_any(), pod.status));
        pods.collect::<Vec<_>>().join("\n")
    }

    /// Waits until a leak is ready for this reason.
    pub async fn leak_becomes(&self, leak: &str, reason: &str) {
        eventually(&format!("whether {leak} is ready"), async || {
            let leak = self.leaks.get(leak).await.unwrap();
            let status = leak.status.unwrap_or_default();
            let is_it = status.conditions.iter().any(|condition| {
                condition.type_ == "Ready"
                    && condition.reason == reason
                    && condition.observed_generation == leak.metadata.generation
            });
            if is_it {
                Ok(())
            } else {
                Err(format!("{:?}\n{}", status.conditions, said()))
            }
        })
        .await;
    }

    pub async fn leak(&self, name: &str, spec: &str) {
        let spec: Value = serde_saphyr::from_str(&format!("{{{spec}}}")).unwrap();
        let leak = json!({
            "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfLeak",
            "metadata": {"name": name}, "spec": spec,
        });
        create(&self.leaks, leak).await;
    }

    /// The agent has exactly these capabilities, and can't get others. helm doesn't wait for as many pods as may be
    /// unavailable, which on one node is all of them.
    pub async fn may_do(&mut self, capabilities: &[&str]) {
        let wanted: u64 = CAPABILITIES
            .iter()
            .filter(|(name, _)| capabilities.contains(name))
            .map(|(_, number)| 1 << number)
            .sum();
        let wanted = format!("{wanted:016x} {wanted:016x}");
        eventually(
            &format!("an agent that may do {capabilities:?}"),
            async || {
                let sets = self.vm.tell("what may the agent do?");
                if sets.trim_end() == wanted {
                    Ok(())
                } else {
                    Err(format!("{sets}\n{}", said()))
                }
            },
        )
        .await;
    }

    /// An agent that lacks one of its capabilities names it, and says what it can't do.
    pub async fn needs(&self, all: &[&str], capability: &str, feature: &str) {
        let left: Vec<&str> = all
            .iter()
            .copied()
            .filter(|one| *one != capability)
            .collect();
        let patch = json!({"spec": {"template": {"spec": {"containers": [{
            "name": "agent", "securityContext": {"capabilities": {"drop": ["ALL"], "add": left}},
        }]}}}});
        let sets: Api<DaemonSet> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let patched = sets
            .patch(
                "vrfgate-agent",
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await;
        patched.unwrap();
        eventually(
            &format!("a word on the lack of CAP_{capability}"),
            async || {
                let agents = ListParams::default().labels("app.kubernetes.io/component=agent");
                let agents = self.pods.list(&agents).await.unwrap();
                for pod in &agents {
                    let spec = pod.spec.clone().unwrap_or_default();
                    let added = spec.containers[0].security_context.clone();
                    let added = added.and_then(|context| context.capabilities?.add);
                    let log = log_of(pod);
                    let line = log.lines().find(|line| {
                        line.contains(&format!("CAP_{capability}")) && line.contains(feature)
                    });
                    if added.as_deref()
                        == Some(&left.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
                        && let Some(line) = line
                    {
                        println!("without CAP_{capability}: {line}");
                        return Ok(());
                    }
                }
                Err(format!("{}\n{}", self.pods().await, said()))
            },
        )
        .await;
    }

    /// Nothing is left in the cluster but the CRDs, and nothing at all on the node: the client is refused again.
    pub async fn uninstall(&mut self) {
        self.helm(&["uninstall", "vrfgate", "--wait"]).await;
        self.is_as_before().await;
    }

    /// As [`Scene::uninstall`] leaves it.
    pub async fn is_as_before(&mut self) {
        self.vm.sees(SSH, REFUSED);
        let leaks = self.leaks.list(&ListParams::default()).await.unwrap();
        assert!(leaks.items.is_empty(), "{leaks:?}");
        let before = self.before.clone();
        eventually("a node as it was before", async || {
            let now = self.state();
            if now == before {
                Ok(())
            } else {
                Err(difference(&before, &now))
            }
        })
        .await;
    }

    /// No port that was never listed was ever open, and the next test may have the machine.
    pub fn end(mut self) {
        let attempts: u32 = self.vm.tell("what was open?").parse().unwrap();
        assert!(attempts > 100, "the scanner made {attempts} attempts only");
        println!("{attempts} attempts on ports that no leak lists: 0 were open");
        self.vm.tell("leave the cluster");
        *self.suite.worker.lock().unwrap() = Some(self.vm);
    }
}

/// Where the runtime of the node looks for plugins; one node, and an emulated one, needs one controller.
const SETTINGS: &[&str] = &[
    "--set=agent.cni.binDir=/run/node/cni",
    "--set=controller.replicas=1",
];

/// The image of a version, where the machine finds it.
fn image(version: &str) -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operator/packaging/image.sh");
    let output = Command::new(&build).args(["--version", version]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", build.display()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(made) = said.trim_end().strip_prefix("IMAGE=") else {
        panic!(
            "{}: {}",
            build.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let image = directory().join(format!("vrfgate-{version}.tar"));
    fs::copy(made, &image).unwrap();
    image
}

/// Their numbers (`linux/capability.h`).
const CAPABILITIES: [(&str, u32); 5] = [
    ("NET_ADMIN", 12),
    ("SYS_PTRACE", 19),
    ("SYS_ADMIN", 21),
    ("PERFMON", 38),
    ("BPF", 39),
];

/// What a pod's containers have said, those that have ended included.
fn log_of(pod: &Pod) -> String {
    let uid = pod.uid().unwrap_or_default();
    logs()
        .into_iter()
        .filter(|(path, _)| path.display().to_string().contains(&uid))
        .map(|(_, log)| log)
        .collect()
}

/// Lines that only one of two states has.
fn difference(before: &str, now: &str) -> String {
    let lacks = |there: &str, here: &str, sign: char| -> Vec<String> {
        let here: Vec<&str> = here.lines().collect();
        let only = there.lines().filter(|line| !here.contains(line));
        only.map(|line| format!("{sign} {line}")).collect()
    };
    [lacks(before, now, '-'), lacks(now, before, '+')]
        .concat()
        .join("\n")
}
