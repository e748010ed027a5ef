//! A place for the plugin to work in: a namespace, a BPF file system and a run directory of the test's own.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod table;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Map, Value, json};
use vrfgate_cni::{Attachments, place_of};
use vrfgate_core::{Attachment, Key};
use vrfgate_ebpf::{Netns, Store};
use vrfgate_sandbox::Started;

pub const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

pub struct Sandbox(vrfgate_sandbox::Sandbox);

impl Deref for Sandbox {
    type Target = vrfgate_sandbox::Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = Self(vrfgate_sandbox::Sandbox::new("cni"));
        sandbox.places(&json!({}));
        sandbox.add_interface();
        sandbox
    }

    /// Reference plugins look whether the interface of their previous result is there.
    fn add_interface(&self) {
        self.ip("link add net1 type veth peer name peer1");
    }

    /// The namespace goes, as after a crash: nobody has said DEL.
    pub fn lose_namespace(&mut self) {
        self.0.lose_netns();
    }

    /// Another namespace comes in its place.
    pub fn make_namespace(&mut self) {
        self.0.make_netns();
        self.add_interface();
    }

    pub fn store(&self) -> Store {
        Store::new(self.bpffs(), self.run_dir())
    }

    pub fn attachments(&self) -> Attachments {
        Attachments::of(&self.store())
    }

    pub fn netns_path(&self) -> PathBuf {
        Path::new("/run/netns").join(self.name())
    }

    pub fn netns(&self) -> Netns {
        Netns::open(self.name()).unwrap()
    }

    /// An attachment here, as ADD would record it.
    pub fn attachment(&self, network: &str, ifname: &str, services: &Value) -> Attachment {
        Attachment {
            key: key(network, ifname),
            netns: place_of(&self.netns(), &self.netns_path()).unwrap(),
            pod: None,
            vrf: None,
            services: vrfgate_core::services(serde_json::from_value(services.clone()).unwrap())
                .unwrap(),
            addresses: Vec::new(),
        }
    }

    /// The plugin.
    pub fn plugin() -> Plugin {
        Plugin {
            program: env!("CARGO_BIN_EXE_vrfgate-cni").into(),
            own: json!({}),
        }
    }

    /// What root says on this node of where things are: in here, but for these.
    pub fn places(&self, others: &Value) -> PathBuf {
        let mut all = json!({
            "bpffs": self.bpffs(),
            "runDir": self.run_dir(),
            "logFile": self.path("log"),
            "logLevel": "debug",
        });
        let others = others.as_object().unwrap();
        all.as_object_mut().unwrap().extend(others.clone());
        let file = self.path("cni.conf");
        fs::write(&file, all.to_string()).unwrap();
        file
    }

    /// A call as containerd makes it, for the network `blue` and the interface `net1`.
    pub fn call(&self, plugin: &Plugin, verb: &str, version: &str) -> Call {
        let variables = [
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", CONTAINER.to_owned()),
            ("CNI_NETNS", self.netns_path().display().to_string()),
            ("CNI_IFNAME", "net1".to_owned()),
            ("CNI_PATH", "/opt/cni/bin".to_owned()),
            (
                "VRFGATE_CNI_CONFIG",
                self.path("cni.conf").display().to_string(),
            ),
            (
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=frontend-0;K8S_POD_UID=c0ffee"
                    .to_owned(),
            ),
        ];
        let mut config = Map::new();
        config.insert("cniVersion".into(), version.into());
        config.insert("name".into(), "blue".into());
        config.insert("type".into(), "vrfgate".into());
        config.insert(
            "prevResult".into(),
            prev_result(version, &self.netns_path()),
        );
        if let Value::Object(own) = &plugin.own {
            config.extend(own.clone());
        }
        Call {
            program: plugin.program.clone(),
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            config,
            stdin: None,
        }
    }

    /// Everything that is left in the BPF file system and the run directory.
    pub fn left(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.path("bpf/vrfgate"), &mut found);
        collect(&self.path("run"), &mut found);
        found
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// As containerd makes them up.
pub const CONTAINER: &str = "3f4a8c0d5b1e7a9f2c6d8e0b4a7f1c3e5d9b2a6c8f0e4d7b1a3c5e9f2d6b8a0c";

pub fn key(network: &str, ifname: &str) -> Key {
    Key {
        network: network.into(),
        container_id: CONTAINER.into(),
        ifname: ifname.into(),
    }
}

/// A plugin under test, and what its part of the configuration says.
pub struct Plugin {
    pub program: PathBuf,
    pub own: Value,
}

/// One start of a plugin, to be varied.
#[derive(Clone)]
pub struct Call {
    program: PathBuf,
    variables: BTreeMap<String, String>,
    pub config: Map<String, Value>,
    stdin: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Reply {
    pub succeeded: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Call {
    pub fn without(mut self, name: &str) -> Self {
        assert!(self.variables.remove(name).is_some(), "{name}");
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.into(), value);
        self
    }

    pub fn unset(mut self, key: &str) -> Self {
        assert!(self.config.remove(key).is_some(), "{key}");
        self
    }

    /// Something else on stdin than the configuration.
    pub fn saying(mut self, stdin: &str) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    pub fn run(&self) -> Reply {
        let mut child = Command::new(&self.program)
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .started()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let stdin = self
            .stdin
            .clone()
            .unwrap_or_else(|| Value::Object(self.config.clone()).to_string());
        // A plugin may end without having read anything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Reply {
            succeeded: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// As [`Call::run`], where nothing may go wrong.
    #[track_caller]
    pub fn must(&self) -> Reply {
        let reply = self.run();
        assert!(reply.succeeded, "{reply:?}");
        reply
    }
}

impl Reply {
    /// The error code; `None` for a success.
    #[track_caller]
    pub fn code(&self) -> Option<u64> {
        if self.succeeded {
            return None;
        }
        let error: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON object: {error}: {self:?}"));
        Some(error["code"].as_u64().unwrap())
    }

    #[track_caller]
    pub fn details(&self) -> String {
        let error: Value = serde_json::from_str(&self.stdout).unwrap();
        error["details"].as_str().unwrap_or_default().to_owned()
    }
}

/// What bridge and vrf would have made, and what neither they nor we know the meaning of.
fn prev_result(version: &str, netns: &Path) -> Value {
    let ip = if version < "1.0.0" {
        json!({"version": "4", "interface": 2, "address": "10.1.0.5/16", "gateway": "10.1.0.1"})
    } else {
        json!({"interface": 2, "address": "10.1.0.5/16", "gateway": "10.1.0.1"})
    };
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "veth3243", "mac": "55:44:33:22:11:11"},
            {"name": "net1", "mac": "99:88:77:66:55:44", "sandbox": netns},
        ],
        "ips": [ip],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    })
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        }
        found.push(path);
    }
}
