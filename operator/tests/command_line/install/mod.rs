//! `vrfgate install-cni` and `uninstall-cni`: what they touch on a node, and above all what they don't.

mod chain;
mod plugin;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;
use vrfgate_sandbox::Started;

pub const OURS: &str = r#"{"type": "vrfgate", "managedBy": "vrfgate"}"#;

/// A list as kindnet writes it.
pub const KINDNET: &str = "\
{
  \"cniVersion\": \"0.4.0\",
  \"name\": \"kindnet\",
  \"plugins\": [
    {\"type\": \"ptp\"},
    {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}
  ]
}
";

/// The directories of a node that container runtimes read.
pub struct Node(TempDir);

impl Node {
    pub fn new() -> Self {
        let node = Self(TempDir::new().unwrap());
        for directory in ["bin", "net.d", "run"] {
            fs::create_dir(node.path(directory)).unwrap();
        }
        node.build("0.1.0");
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a plugin of this version, which does what sleep(1) does.
    pub fn build(&self, version: &str) {
        let mut plugin = fs::read("/bin/sleep").unwrap();
        plugin.extend(format!("vrfgate CNI plugin {version} (CNI 1.0.0)").as_bytes());
        let path = self.path("vrfgate-cni");
        fs::write(&path, plugin).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    pub fn write(&self, list: &str, text: &str) {
        fs::write(self.path("net.d").join(list), text).unwrap();
    }

    pub fn read(&self, list: &str) -> String {
        fs::read_to_string(self.path("net.d").join(list)).unwrap()
    }

    pub fn installed(&self) -> PathBuf {
        self.path("bin/vrfgate")
    }

    /// Names of everything in both directories.
    pub fn everything(&self) -> Vec<String> {
        let mut names: Vec<String> = ["bin", "net.d"]
            .iter()
            .flat_map(|directory| fs::read_dir(self.path(directory)).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut line = Command::new(env!("CARGO_BIN_EXE_vrfgate"));
        line.arg(command)
            .arg("--bin-dir")
            .arg(self.path("bin"))
            .arg("--plugin")
            .arg(self.path("vrfgate-cni"))
            .arg("--conf-dir")
            .arg(self.path("net.d"))
            .arg("--run-dir")
            .arg(self.path("run"))
            .args(arguments);
        line
    }

    /// Standard output.
    fn must(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.command(command, arguments).finished().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error.
    fn refused(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.command(command, arguments).finished().unwrap();
        assert!(!output.status.success(), "{command} {arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}
