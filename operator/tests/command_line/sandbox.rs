//! A namespace with a BPF file system and a directory of leaks of its own, and the command in it.

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use vrfgate_ebpf::{Netns, Store};
use vrfgate_operator::node::Report;
use vrfgate_sandbox::{Started, soon};

pub fn leak(name: &str, vrf: &str, port: u16) -> String {
    format!(
        "
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {{name: {name}}}
spec:
  vrf: {vrf}
  services:
    - {{name: ssh, protocol: TCP, port: {port}, addresses: [192.0.2.1/32]}}
"
    )
}

pub struct Sandbox(vrfgate_sandbox::Sandbox);

impl Deref for Sandbox {
    type Target = vrfgate_sandbox::Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Sandbox {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = Self(vrfgate_sandbox::Sandbox::new("cli"));
        fs::create_dir(sandbox.path("leaks")).unwrap();
        sandbox
    }

    pub fn store(&self) -> Store {
        Store::new(self.bpffs(), self.run_dir())
    }

    pub fn netns(&self) -> Netns {
        Netns::open(self.name()).unwrap()
    }

    /// What a command of ip(8) prints, which may begin with options.
    pub fn ip(&self, command: &str) -> String {
        self.0.netns().ip_shows(command).unwrap()
    }

    pub fn command(&self, command: &str) -> Command {
        let mut line = Command::new(env!("CARGO_BIN_EXE_vrfgate"));
        line.arg("--bpffs")
            .arg(self.bpffs())
            .arg("--run-dir")
            .arg(self.run_dir())
            .args([command, "--netns", self.name()]);
        if command == "run" {
            line.arg("--file").arg(self.path("leaks"));
        }
        line
    }

    pub fn must(&self, command: &str, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(command).args(arguments).finished().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "vrfgate {command}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    pub fn write_leaks(&self, file: &str, text: &str) {
        fs::write(self.path("leaks").join(file), text).unwrap();
    }

    pub fn link_pin(&self) -> PathBuf {
        self.pins().join("link")
    }

    pub fn report(&self) -> Report {
        Report::load(&self.store(), &self.netns())
            .unwrap()
            .unwrap_or_default()
    }

    /// `vrfgate run` until the value goes.
    pub fn run(&self) -> Running {
        let child = self.command("run").stderr(Stdio::null()).started().unwrap();
        let running = Running(child);
        soon("the gate is put in", || self.sysctls() == [true, false]);
        running
    }
}

pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
