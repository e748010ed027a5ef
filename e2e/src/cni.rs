//! The CNI plugin, driven from outside as container runtimes do: by its environment, its stdin and its exit code.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Agent, Host, Started};

/// Names the file by which root tells the plugin where things are.
const PLACES: &str = "VRFGATE_CNI_CONFIG";

/// A cluster that doesn't answer.
const NOWHERE: &str = "{apiVersion: v1, kind: Config, current-context: n, \
    contexts: [{name: n, context: {cluster: n, user: n}}], users: [{name: n, user: {token: n}}], \
    clusters: [{name: n, cluster: {server: 'http://127.0.0.1:1'}}]}";

static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
static REFERENCE: OnceLock<PathBuf> = OnceLock::new();

/// Which program is the plugin, and where the reference plugins and cnitool are. The first word counts.
pub fn use_cni(plugin: PathBuf, reference: PathBuf) {
    let _ = PLUGIN.set(plugin);
    let _ = REFERENCE.set(reference);
}

/// What a node keeps of its pods: a BPF file system and a run directory of a test's own.
#[derive(Debug)]
pub struct CniNode {
    home: TempDir,
}

/// One interface of a pod, and what its network configuration says to the plugin.
#[derive(Debug)]
pub struct Interface<'node> {
    node: &'node CniNode,
    network: String,
    container: String,
    netns: PathBuf,
    name: String,
    own: Value,
    args: String,
}

/// What the plugin answered.
#[derive(Debug)]
pub struct Answer {
    /// The error's code; `None` when there was none.
    pub code: Option<u64>,
    /// All that it said.
    pub said: Value,
}

impl Default for CniNode {
    fn default() -> Self {
        Self::new()
    }
}

impl CniNode {
    /// A node without pods.
    #[must_use]
    pub fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("vrfgate-cni-")
            .tempdir_in("/run")
            .unwrap_or_else(|error| panic!("a directory for the plugin: {error}"));
        let node = Self { home };
        let made = fs::create_dir(node.bpffs())
            .and_then(|()| fs::create_dir(node.plugins()))
            .and_then(|()| {
                let no_data = None::<&str>;
                mount(
                    Some("bpf"),
                    &node.bpffs(),
                    Some("bpf"),
                    MsFlags::empty(),
                    no_data,
                )?;
                symlink(plugin(), node.plugins().join("vrfgate"))?;
                let places = json!({"bpffs": node.bpffs(), "runDir": node.run_dir()});
                fs::write(node.places(), places.to_string())
            });
        made.unwrap_or_else(|error| panic!("a place for the plugin: {error}"));
        node
    }

    /// An interface of the pod that a machine stands for, in the network `blue`.
    #[must_use]
    pub fn interface(&self, pod: &Host, name: &str, own: &Value) -> Interface<'_> {
        Interface {
            node: self,
            network: "blue".into(),
            container: pod.netns().name().into(),
            netns: Path::new("/run/netns").join(pod.netns().name()),
            name: name.into(),
            own: own.clone(),
            args: String::new(),
        }
    }

    /// `vrfgate status -o json` of a pod.
    #[must_use]
    #[track_caller]
    pub fn status(&self, pod: &Host) -> Value {
        let mut command = Command::new(crate::vrfgate::program());
        command
            .args(["status", "-o", "json", "--netns", pod.netns().name()])
            .arg("--bpffs")
            .arg(self.bpffs())
            .arg("--run-dir")
            .arg(self.run_dir());
        let output = command.finished();
        let output = output.unwrap_or_else(|error| panic!("starting vrfgate: {error}"));
        assert!(output.status.success(), "{}", crate::complaint(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where root says where things are on this node.
    fn places(&self) -> PathBuf {
        self.path("cni.conf")
    }

    /// Where the plugin looks for an agent.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.run_dir().join("agent.sock")
    }

    /// A place for a file of a test's own.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Everything that is left of anybody.
    #[must_use]
    pub fn left(&self) -> Vec<PathBuf> {
        [self.bpffs().join("vrfgate"), self.run_dir()]
            .iter()
            .flat_map(|directory| fs::read_dir(directory).into_iter().flatten())
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    }

    /// The records of attachments.
    #[must_use]
    pub fn records(&self) -> Vec<PathBuf> {
        let records = fs::read_dir(self.run_dir().join("cni"));
        let records = records.into_iter().flatten();
        records
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    }

    /// Starts an agent of the node, which a machine stands for. It knows what `spec`, that of its `VrfGateNode`,
    /// was when the API server was last seen; now that is away.
    #[must_use]
    #[track_caller]
    pub fn agent(&self, machine: &Host, spec: &Value) -> Agent {
        self.start_agent(machine, spec, Command::new(crate::vrfgate::program()))
    }

    /// As [`CniNode::agent`], where the agent may have so many files open: `SOFT:HARD`, as prlimit(1) takes it.
    #[must_use]
    #[track_caller]
    pub fn agent_with_files(&self, machine: &Host, spec: &Value, limits: &str) -> Agent {
        self.agent_by(
            machine,
            spec,
            &["prlimit", &format!("--nofile={limits}"), "--"],
        )
    }

    /// As [`CniNode::agent`], started by another program that takes it as its last arguments.
    #[must_use]
    #[track_caller]
    pub fn agent_by(&self, machine: &Host, spec: &Value, starter: &[&str]) -> Agent {
        let (program, arguments) = starter
            .split_first()
            .unwrap_or_else(|| panic!("which program starts the agent?"));
        let mut command = Command::new(program);
        command.args(arguments).arg(crate::vrfgate::program());
        self.start_agent(machine, spec, command)
    }

    #[track_caller]
    fn start_agent(&self, machine: &Host, spec: &Value, mut command: Command) -> Agent {
        let last = self
            .run_dir()
            .join(format!("{}.agent.json", machine.netns().inode()));
        let nowhere = self.home.path().join("kubeconfig");
        let written = fs::create_dir_all(self.run_dir())
            .and_then(|()| fs::write(&last, spec.to_string()))
            .and_then(|()| fs::write(&nowhere, NOWHERE));
        written.unwrap_or_else(|error| panic!("{}: {error}", last.display()));
        let log = self.home.path().join("agent.log");
        let child = fs::File::create(&log).and_then(|log| {
            command
                .arg("--bpffs")
                .arg(self.bpffs())
                .arg("--run-dir")
                .arg(self.run_dir())
                .args(["agent", "--node-name", "n", "--netns"])
                .arg(machine.netns().name())
                .env("KUBECONFIG", &nowhere)
                .stderr(log)
                .started()
        });
        let child = child.unwrap_or_else(|error| panic!("the agent: {error}"));
        Agent::new(child, log, &self.agent_socket())
    }

    fn bpffs(&self) -> PathBuf {
        self.home.path().join("bpf")
    }

    fn run_dir(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// Where the plugin has the name that configurations call it by.
    fn plugins(&self) -> PathBuf {
        self.home.path().join("bin")
    }
}

impl Drop for CniNode {
    fn drop(&mut self) {
        // With its pins go the gates.
        let _ = umount2(&self.bpffs(), MntFlags::MNT_DETACH);
    }
}

impl Interface<'_> {
    /// The same, of a Kubernetes pod.
    #[must_use]
    pub fn of_pod(mut self, namespace: &str, name: &str) -> Self {
        self.args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}");
        self
    }

    /// The same, of another network.
    #[must_use]
    pub fn of_network(mut self, network: &str) -> Self {
        network.clone_into(&mut self.network);
        self
    }

    /// The same, where the container runtime names the pod's namespace otherwise.
    #[must_use]
    pub fn at(mut self, netns: &Path) -> Self {
        netns.clone_into(&mut self.netns);
        self
    }

    /// ADD, which must succeed.
    #[track_caller]
    pub fn add(&self) {
        self.must("ADD");
    }

    /// DEL, which must succeed.
    #[track_caller]
    pub fn del(&self) {
        self.must("DEL");
    }

    /// A verb that must succeed.
    #[track_caller]
    pub fn must(&self, verb: &str) {
        let answer = self.call(verb);
        assert!(answer.code.is_none(), "{verb} of {}: {answer:?}", self.name);
    }

    /// A verb that must be refused with this code, and these words.
    #[track_caller]
    pub fn should_refuse(&self, verb: &str, code: u64, words: &str) {
        let answer = self.call(verb);
        let details = answer.said["details"].as_str().unwrap_or_default();
        assert!(
            answer.code == Some(code) && details.contains(words),
            "{verb} should say {code}, {words:?}: {answer:?}"
        );
    }

    /// A verb, as a chain of plugins comes to it.
    #[must_use]
    #[track_caller]
    pub fn call(&self, verb: &str) -> Answer {
        let mut config = self.config();
        config["cniVersion"] = "1.1.0".into();
        config["name"] = self.network.as_str().into();
        config["prevResult"] = json!({"cniVersion": "1.1.0", "interfaces": [{"name": self.name}]});
        let child = Command::new(plugin())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", &self.name)
            .env("CNI_ARGS", &self.args)
            .env(PLACES, self.node.places())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .started();
        let output = child.and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(config.to_string().as_bytes())?;
            }
            child.wait_with_output()
        });
        let output = output.unwrap_or_else(|error| panic!("the plugin: {error}"));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Answer {
            code: (!output.status.success()).then(|| said["code"].as_u64().unwrap_or_default()),
            said,
        }
    }

    /// Has cnitool run a verb of a whole chain on a machine: bridge, host-local, vrf and vrfgate.
    #[must_use]
    #[track_caller]
    pub fn chain(&self, machine: &Host, verb: &str) -> Output {
        let home = self.node.home.path();
        let list = json!({
            "cniVersion": "1.0.0",
            "name": self.network,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "br-blue",
                    "isGateway": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": "10.1.0.0/16"}]],
                        "dataDir": home.join("addresses"),
                    },
                },
                {"type": "vrf", "vrfname": "BLUE"},
                self.config(),
            ],
        });
        let file = home.join("blue.conflist");
        if let Err(error) = fs::write(&file, list.to_string()) {
            panic!("{}: {error}", file.display());
        }
        let reference = reference();
        let paths = [self.node.plugins(), reference.to_owned()];
        let mut command = Command::new(reference.join("cnitool"));
        command
            .args([verb, &self.network])
            .arg(&self.netns)
            .env("CNI_IFNAME", &self.name)
            .env("NETCONFPATH", home)
            .env(PLACES, self.node.places())
            .env(
                "CNI_PATH",
                paths.map(|path| path.display().to_string()).join(":"),
            );
        let output = machine.netns().enter(|| command.finished());
        output.unwrap_or_else(|error| panic!("cnitool: {error}"))
    }

    /// The plugin's part of a configuration list.
    fn config(&self) -> Value {
        let mut config = self.own.clone();
        config["type"] = "vrfgate".into();
        config
    }
}

fn plugin() -> &'static Path {
    PLUGIN
        .get()
        .map_or(Path::new("vrfgate-cni"), PathBuf::as_path)
}

fn reference() -> &'static Path {
    REFERENCE
        .get()
        .map_or(Path::new("/usr/lib/cni"), PathBuf::as_path)
}
