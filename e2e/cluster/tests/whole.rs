//! A whole cluster with a real node, and vrfgate as its Helm chart and its image: installed, used, upgraded and
//! uninstalled by helm, run by kubelet and container runtime, and judged by a client in a management VRF.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
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
use vrfgate_cluster::{ControlPlane, HOST_OF_VM, Helm, apply};
use vrfgate_operator::api::VrfLeak;

use crate::{
    accounts::NAMESPACE,
    chart::{CHART, read},
    kit::{create, delete, eventually},
    kubelet::{LISTED, SERVED, browse, opening, starts, web_server},
    real_node::NODE,
    suite::{Suite, Test, tests},
    vm::{Kind, Vm, directory, kubeconfig, logs, said},
};

pub fn tests() -> Vec<Test> {
    tests![
        a_release_is_installed_used_upgraded_and_uninstalled_and_the_node_is_as_before,
        a_release_serves_pods_with_exactly_the_capabilities_it_needs,
    ]
}

/// The version that is installed, and the one that comes after it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const NEXT: &str = "99.0.0-next";

pub const SSH: &str = "connect to 192.0.2.1:22";
const WEB: &str = "connect to 192.0.2.1:80";
pub const REACHED_SSH: &str = "reached \"ssh\"";
pub const REFUSED: &str = "was refused";

/// A node that is ready for pods and has nothing of vrfgate, and the cluster that it belongs to.
pub struct Scene<'a> {
    suite: &'a Suite,
    // Dropped in this order: nobody is there any more who would ask the API server.
    pub vm: Vm,
    /// How an administrator reaches the cluster.
    pub kubeconfig: PathBuf,
    helm: Helm,
    pub admin: Client,
    pods: Api<Pod>,
    pub leaks: Api<VrfLeak>,
    /// How the node stood before anything was installed.
    before: String,
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

    fn state(&mut self) -> String {
        self.vm.tell("how does everything stand?")
    }

    /// helm, on the release `vrfgate`.
    async fn helm(&self, arguments: &[&str]) -> String {
        let namespace = format!("--namespace={NAMESPACE}");
        let arguments = [arguments, &[namespace.as_str(), "--timeout=3m"]].concat();
        match block_in_place(|| self.helm.run(&arguments)) {
            Ok(said) => said,
            Err(error) => panic!("{error:#}\n{}\n{}", self.pods().await, said()),
        }
    }

    async fn install(&self, settings: &[&str]) {
        let install = ["install", "vrfgate", CHART, "--create-namespace", "--wait"];
        self.helm(&[&install, SETTINGS, settings].concat()).await;
    }

    async fn upgrade(&self, settings: &[&str]) {
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
    async fn leak_becomes(&self, leak: &str, reason: &str) {
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

    async fn leak(&self, name: &str, spec: &str) {
        let spec: Value = serde_saphyr::from_str(&format!("{{{spec}}}")).unwrap();
        let leak = json!({
            "apiVersion": "vrfgate.dev/v1alpha1", "kind": "VrfLeak",
            "metadata": {"name": name}, "spec": spec,
        });
        create(&self.leaks, leak).await;
    }

    /// The agent has exactly these capabilities, and can't get others. helm doesn't wait for as many pods as may be
    /// unavailable, which on one node is all of them.
    async fn may_do(&mut self, capabilities: &[&str]) {
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
    async fn needs(&self, all: &[&str], capability: &str, feature: &str) {
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
    async fn uninstall(&mut self) {
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

/// How long nothing is to happen before the memory of controller and agent is told, from `IDLE`, in seconds.
fn idle() -> Option<Duration> {
    let seconds = env::var("IDLE").ok().filter(|idle| !idle.is_empty())?;
    let seconds = seconds.parse();
    Some(Duration::from_secs(seconds.expect("IDLE=SECONDS")))
}

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

async fn a_release_is_installed_used_upgraded_and_uninstalled_and_the_node_is_as_before(
    suite: &Suite,
) {
    let mut scene = Scene::new(suite).await;
    scene.vm.sees(SSH, REFUSED);
    scene.install(&[]).await;
    scene.helm(&["test", "vrfgate"]).await;

    apply(&scene.admin, &read("examples/management.yaml"))
        .await
        .unwrap();
    scene.leak_becomes("management", "InForce").await;
    scene.vm.sees(SSH, REACHED_SSH);
    scene.vm.sees(WEB, REFUSED);
    assert_ne!(scene.state(), scene.before);
    if let Some(idle) = idle() {
        tokio::time::sleep(idle).await;
        println!("idle: {}", scene.vm.tell("how much memory?"));
    }

    println!("{}", scene.time_edits("management").await);

    scene.vm.tell("talk to 192.0.2.1:22");
    scene.vm.tell("keep connecting to 192.0.2.1:22");
    scene
        .upgrade(&["--set", &format!("image.tag={NEXT}")])
        .await;
    scene.leak_becomes("management", "InForce").await;
    let attempts: u32 = scene.vm.tell("stop connecting").parse().unwrap();
    assert!(attempts > 100, "the client made {attempts} attempts only");
    println!("{attempts} connections while the release was upgraded: 0 failed");
    scene.vm.tell("still talk");
    scene.helm(&["test", "vrfgate"]).await;
    println!("after load: {}", scene.vm.tell("how much memory?"));

    scene.uninstall().await;
    scene.end();
}

async fn a_release_serves_pods_with_exactly_the_capabilities_it_needs(suite: &Suite) {
    let mut scene = Scene::new(suite).await;
    scene.install(&["--set=agent.hostPID=true"]).await;
    scene
        .may_do(&["NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN"])
        .await;

    // The plugin is the one that the agent has installed.
    scene.vm.tell("attach pods to BLUE");
    create(&scene.pods, web_server("upf", "upf")).await;
    let address = starts(&scene.pods, "upf").await;
    let [listed, more] = [LISTED, 9090].map(|port| browse(&address, port));
    scene.vm.soon_sees(&listed, SERVED);
    scene.vm.sees(&more, REFUSED);
    scene.leak("more", &opening(9090)).await;
    scene.leak_becomes("more", "InForce").await;
    scene.vm.sees(&more, SERVED);

    let with_pods = ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"];
    scene
        .needs(
            &with_pods,
            "NET_ADMIN",
            "attach the gate to a network namespace",
        )
        .await;
    scene
        .needs(&with_pods, "SYS_ADMIN", "load the gate's BPF programs")
        .await;
    scene
        .needs(
            &with_pods,
            "SYS_PTRACE",
            "what pods leave that vanish isn't removed",
        )
        .await;
    // Whatever became of the agents.
    scene.vm.sees(&more, SERVED);
    delete(&scene.leaks, "more").await;
    delete(&scene.pods, "upf").await;
    // A runtime says DEL to the plugins of the network that there is then.
    eventually("a pod that is gone", async || {
        match scene.pods.get_opt("upf").await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}\n{}", pod.status, said())),
        }
    })
    .await;
    scene.vm.tell("attach pods to no VRF");

    scene.upgrade(&["--set=agent.pods.enabled=false"]).await;
    scene.may_do(&["NET_ADMIN", "PERFMON", "BPF"]).await;
    let without_pods = ["NET_ADMIN", "BPF", "PERFMON"];
    scene
        .needs(&without_pods, "BPF", "load the gate's BPF programs")
        .await;
    scene.needs(&without_pods, "PERFMON", "trace sockets").await;

    scene.upgrade(&[]).await;
    scene.uninstall().await;
    scene.end();
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
