//! A kubelet and its container runtime: their configuration, their start, and their violent end.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{agent::NODE, log, output};
use vrfgate_e2e::{Started, soon};

/// The address that QEMU's user network gives to the machine.
const ADDRESS: &str = "10.0.2.15";

/// A kubelet, containerd and runc.
pub struct Kubelet {
    /// Where the programs are, `image.tar`, and `cni` with the plugins.
    programs: PathBuf,
    kubeconfig: PathBuf,
    logs: PathBuf,
    /// What they know of pods.
    home: PathBuf,
    containerd: Option<Child>,
    /// The kubelet itself.
    running: Option<Child>,
}

impl Kubelet {
    pub fn new(programs: PathBuf, kubeconfig: PathBuf, logs: PathBuf) -> Self {
        // In memory: containers need a file system that another one can be laid over.
        let home = PathBuf::from("/run/kubernetes");
        let kubelet = Self {
            programs,
            kubeconfig,
            logs,
            home,
            containerd: None,
            running: None,
        };
        kubelet.configure();
        kubelet
    }

    fn configure(&self) {
        let made = fs::create_dir_all(self.networks())
            .and_then(|()| fs::write(self.home.join("containerd.toml"), self.containerd_config()))
            .and_then(|()| {
                let places = json!({"logFile": self.logs.join("cni.log")});
                fs::write(self.home.join("cni.conf"), places.to_string())
            })
            .and_then(|()| {
                fs::write(
                    self.home.join("kubelet.yaml"),
                    self.kubelet_config().to_string(),
                )
            })
            .and_then(|()| {
                fs::write(
                    self.networks().join("blue.conflist"),
                    self.network().to_string(),
                )
            });
        made.unwrap_or_else(|error| panic!("configuring a kubelet: {error}"));
    }

    fn containerd_config(&self) -> String {
        let home = self.home.display();
        let programs = self.programs.display();
        format!(
            "\
version = 3
root = '{home}/containerd'
state = '{home}/containerd-state'
[grpc]
address = '{}'
[ttrpc]
address = '{home}/containerd.ttrpc.sock'
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'vrfgate.test/busybox:1'
[plugins.'io.containerd.cri.v1.runtime']
disable_apparmor = true
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{programs}/cni']
conf_dir = '{}'
use_internal_loopback = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{programs}/runc'
",
            self.socket().display(),
            self.networks().display(),
        )
    }

    fn kubelet_config(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", self.socket().display()),
            "podLogsDir": self.logs.join("pods"),
            "volumePluginDir": self.home.join("volume-plugins"),
            // Nobody asks it for logs or metrics.
            "enableServer": false,
            "healthzPort": 0,
            // A machine without systemd, with one processor and with its file systems in memory.
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            "resolvConf": "",
            "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "2s",
        })
    }

    /// A bridge, addresses, a VRF in the pod, and the gate.
    fn network(&self) -> Value {
        json!({
            // The first version that has STATUS.
            "cniVersion": "1.1.0",
            "name": "blue",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "br-blue",
                    "isGateway": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": "10.1.0.0/16"}]],
                        "dataDir": self.home.join("addresses"),
                    },
                },
                {"type": "vrf", "vrfname": "BLUE"},
                {
                    "type": "vrfgate",
                    "vrf": "BLUE",
                    "services": [{"name": "http", "protocol": "TCP", "port": 8080}],
                },
            ],
        })
    }

    /// Nothing of vrfgate is here, and pods are in no VRF.
    pub fn be_ordinary(&self) {
        rename(&self.plugin(), &self.kept_plugin());
        self.attach_pods_to_no_vrf();
    }

    /// From now on, pods have an ordinary network.
    pub fn attach_pods_to_no_vrf(&self) {
        let network = json!({
            "cniVersion": "1.1.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "br-pods",
                "isDefaultGateway": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": "10.244.0.0/24"}]],
                    "dataDir": self.home.join("addresses"),
                },
            }],
        });
        // The runtime takes the first of them.
        let written = fs::write(
            self.networks().join("10-pods.conflist"),
            network.to_string(),
        );
        written.unwrap_or_else(|error| panic!("configuring the pods' network: {error}"));
    }

    /// From now on, pods are in VRF BLUE; for that, somebody has to have installed the plugin.
    pub fn attach_pods_to_blue(&self) {
        let ordinary = self.networks().join("10-pods.conflist");
        let removed = fs::remove_file(ordinary);
        removed.unwrap_or_else(|error| panic!("configuring the pods' network: {error}"));
    }

    /// The end of being ordinary.
    pub fn be_as_ever(&self) {
        let _ = fs::remove_file(self.networks().join("10-pods.conflist"));
        rename(&self.kept_plugin(), &self.plugin());
    }

    fn plugin(&self) -> PathBuf {
        self.programs.join("cni/vrfgate")
    }

    fn kept_plugin(&self) -> PathBuf {
        self.programs.join("kept-plugin")
    }

    /// Where the runtime looks for plugins and for networks.
    pub fn directories(&self) -> String {
        format!(
            "{}/cni {}",
            self.programs.display(),
            self.networks().display()
        )
    }

    /// Makes an image known, by the name that it bears.
    pub fn import(&self, image: &str) {
        self.ctr(&["images", "import", "--local", image]);
    }

    fn ctr(&self, words: &[&str]) {
        let done = self
            .command("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(words)
            .status();
        assert!(
            done.as_ref().is_ok_and(std::process::ExitStatus::success),
            "ctr {words:?}: {done:?}"
        );
    }

    /// Starts the runtime unless it runs, and the kubelet anew.
    pub fn start(&mut self) {
        kill(&mut self.running);
        if self.containerd.is_none() {
            let config = self.home.join("containerd.toml");
            let containerd = self
                .command("containerd")
                .arg("--config")
                .arg(config)
                .started();
            self.containerd =
                Some(containerd.unwrap_or_else(|error| panic!("starting containerd: {error}")));
            self.import_image();
        }
        let kubelet = self
            .command("kubelet")
            .arg("--config")
            .arg(self.home.join("kubelet.yaml"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--root-dir")
            .arg(self.home.join("kubelet"))
            .arg("--cert-dir")
            .arg(self.home.join("certificates"))
            .args(["--hostname-override", NODE, "--node-ip", ADDRESS])
            .started();
        self.running =
            Some(kubelet.unwrap_or_else(|error| panic!("starting the kubelet: {error}")));
    }

    /// Once the runtime answers. It may have the image already.
    fn import_image(&self) {
        soon("containerd listens", || {
            UnixStream::connect(self.socket()).is_ok()
        });
        let image = self.programs.join("image.tar").display().to_string();
        self.import(&image);
    }

    /// As a crash of the machine would, but for the machine: kubelet, runtime and every container end at once, and
    /// nobody takes down what was set up for the pods.
    pub fn crash(&mut self) {
        kill(&mut self.running);
        kill(&mut self.containerd);
        // Shims and containers are nobody's children. A process's name has 15 letters.
        output("pkill -KILL -x containerd-shim; pkill -KILL -x busybox");
        output("for name in /run/netns/cni-*; do umount \"$name\"; rm \"$name\"; done");
    }

    /// Takes away what the runtime knows of pods. It doesn't run.
    pub fn forget(&self) {
        assert!(self.containerd.is_none(), "containerd runs");
        output(&format!(
            "grep -o '{home}/containerd[^ ]*' /proc/self/mounts | xargs -r umount; rm -rf {home}/containerd*/",
            home = self.home.display()
        ));
    }

    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let log = log(&self.logs.join(program).with_extension("log"));
        let errors = log.try_clone();
        let mut command = Command::new(self.programs.join(program));
        command
            // containerd hands it on to plugins.
            .env("VRFGATE_CNI_CONFIG", self.home.join("cni.conf"))
            // containerd finds its shim there.
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors.unwrap_or_else(|error| panic!("the log of {program}: {error}")));
        command
    }

    fn socket(&self) -> PathBuf {
        self.home.join("containerd.sock")
    }

    fn networks(&self) -> PathBuf {
        self.home.join("networks")
    }
}

fn rename(from: &Path, to: &Path) {
    let renamed = fs::rename(from, to);
    renamed.unwrap_or_else(|error| panic!("renaming {}: {error}", from.display()));
}

/// SIGKILL.
fn kill(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let killed = process.kill().and_then(|()| process.wait());
        killed.unwrap_or_else(|error| panic!("killing a part of Kubernetes: {error}"));
    }
}
