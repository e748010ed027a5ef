//! FRR's bgpd, as Debian packages it: on the router an instance inside a VRF, on a client its peer.

use std::{
    fmt,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Host, Started, soon};

/// Where Debian puts FRR's daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// A bgpd and, where it needs one to hear of VRFs, a zebra. Dropping it ends both.
#[derive(Debug)]
pub struct Bgp {
    host: Host,
    vrf: String,
    home: TempDir,
    daemons: Vec<Child>,
}

impl Bgp {
    /// Starts bgpd with a configuration whose one session is in `vrf` (`default` for none). A VRF's bgpd
    /// listens on port 179 bound to the VRF, with `SO_REUSEPORT`.
    #[must_use]
    #[track_caller]
    pub fn start(host: &Host, vrf: &str, configuration: &str) -> Self {
        let mut bgp = Self::prepare(host, vrf, configuration);
        if vrf == "default" {
            bgp.run(host, "bgpd", &["--no_zebra"]);
        } else {
            bgp.run(host, "zebra", &[]);
            bgp.run(host, "bgpd", &["--no_kernel"]);
        }
        bgp
    }

    /// Starts bgpd, and a zebra that makes the kernel's routes of what it says: such as those that an instance leaks into
    /// another's table.
    #[must_use]
    #[track_caller]
    pub fn start_routing(host: &Host, configuration: &str) -> Self {
        let mut bgp = Self::prepare(host, "default", configuration);
        bgp.run(host, "zebra", &[]);
        bgp.run(host, "bgpd", &["--listenon", "127.0.0.1"]);
        bgp
    }

    #[track_caller]
    fn prepare(host: &Host, vrf: &str, configuration: &str) -> Self {
        let home = tempfile::Builder::new()
            .prefix("vrfgate-bgp-")
            // FRR's daemons give root's rights away, and their sockets and files are their own user's.
            .permissions(fs::Permissions::from_mode(0o777))
            .tempdir_in("/run")
            .unwrap_or_else(|error| panic!("a directory for bgpd: {error}"));
        // FRR's daemons give root's rights away, and their sockets and files are their own user's.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777))
            .unwrap_or_else(|error| panic!("opening bgpd's directory to it: {error}"));
        let bgp = Self {
            host: host.clone(),
            vrf: vrf.to_owned(),
            home,
            daemons: Vec::new(),
        };
        bgp.write("bgpd.conf", configuration);
        bgp.write("zebra.conf", "");
        bgp
    }

    /// Gives the session a key (TCP MD5, RFC 2385), once bgpd listens: FRR 8.4 gives a listener that it makes
    /// later no key, and that of a VRF comes when zebra has told of the VRF.
    #[track_caller]
    pub fn set_password(&self, instance: &str, peer: &str, password: &str) {
        self.soon("bgpd listens", || self.listens() && !self.peer().is_null());
        self.ask_all(&[
            "configure terminal",
            instance,
            &format!("neighbor {peer} password {password}"),
        ]);
    }

    /// The session is up, now or soon.
    #[track_caller]
    pub fn should_soon_be_up(&self) {
        self.soon("a session", || self.is_up());
    }

    /// The session is up, has never been down since it came up, and messages still come in.
    #[track_caller]
    pub fn should_have_stayed_up(&self) {
        let received = || self.peer()["msgRcvd"].as_u64();
        let before = received();
        self.soon("the peer speaks", || received() > before);
        let peer = self.peer();
        let came_up = peer["connectionsEstablished"].as_u64();
        assert!(
            self.is_up() && came_up == Some(1),
            "the session has been down:\n{}",
            self.story()
        );
    }

    /// Stops it as systemd would, and waits until it has ended.
    #[track_caller]
    pub fn stop(mut self) {
        for mut daemon in self.daemons.drain(..).rev() {
            let asked = i32::try_from(daemon.id())
                .map_err(std::io::Error::other)
                .and_then(|pid| Ok(kill(Pid::from_raw(pid), Signal::SIGTERM)?))
                .and_then(|()| daemon.wait());
            asked.unwrap_or_else(|error| panic!("stopping a daemon of FRR: {error}"));
        }
    }

    #[track_caller]
    fn soon(&self, what: &str, holds: impl FnMut() -> bool) {
        soon(
            fmt::from_fn(|f| write!(f, "{what}:\n{}", self.story())),
            holds,
        );
    }

    fn listens(&self) -> bool {
        let shown = self.host.netns().enter(|| {
            Command::new("ss")
                .args(["-H", "-4", "-l", "-t", "-n", "sport = :179"])
                .finished()
        });
        let shown = shown.unwrap_or_else(|error| panic!("ss: {error} (apt-get install iproute2)"));
        let device = match self.vrf.as_str() {
            "default" => ":179".to_owned(),
            vrf => format!("%{vrf}:179"),
        };
        String::from_utf8_lossy(&shown.stdout).contains(&device)
    }

    fn is_up(&self) -> bool {
        self.peer()["state"] == "Established"
    }

    /// What bgpd says of its one peer.
    fn peer(&self) -> Value {
        let shown = self.ask(&format!(
            "show bgp vrf {} ipv4 unicast summary json",
            self.vrf
        ));
        let summary: Value = serde_json::from_str(&shown).unwrap_or_default();
        let peers = summary["peers"].as_object();
        peers
            .and_then(|peers| peers.values().next().cloned())
            .unwrap_or_default()
    }

    fn ask(&self, command: &str) -> String {
        self.ask_all(&[command])
    }

    fn ask_all(&self, commands: &[&str]) -> String {
        let output = Command::new("vtysh")
            .arg("--vty_socket")
            .arg(self.home.path())
            .args(["-d", "bgpd"])
            .args(commands.iter().flat_map(|command| ["-c", command]))
            .finished()
            .unwrap_or_else(|error| panic!("vtysh: {error} (apt-get install frr)"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the daemons say, for whoever wonders.
    #[must_use]
    pub fn story(&self) -> String {
        let logs = ["zebra.log", "bgpd.log"].map(|log| {
            let text = fs::read_to_string(self.file(log)).unwrap_or_default();
            format!("-- {log}\n{text}")
        });
        // What the kernel thinks of MD5 is counted here and told nowhere else.
        let counters = self
            .host
            .netns()
            .enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))
            .unwrap_or_default();
        format!(
            "{}\n{}\n-- counters\n{counters}\n{}",
            self.ask(&format!("show bgp vrf {} neighbors", self.vrf)),
            logs.join("\n"),
            self.host.picture(),
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    #[track_caller]
    fn write(&self, name: &str, content: &str) {
        let path = self.file(name);
        fs::write(&path, content)
            .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
    }

    #[track_caller]
    fn run(&mut self, host: &Host, daemon: &str, options: &[&str]) {
        let log = File::create(self.file(&format!("{daemon}.log")))
            .unwrap_or_else(|error| panic!("a log for {daemon}: {error}"));
        let mut command = Command::new(format!("{DAEMONS}/{daemon}"));
        command
            // On no port but BGP's, and with every file in a place of its own.
            .args(["--vty_port", "0", "--log", "stdout"])
            .arg("--config_file")
            .arg(self.file(&format!("{daemon}.conf")))
            .arg("--pid_file")
            .arg(self.file(&format!("{daemon}.pid")))
            .arg("--vty_socket")
            .arg(self.home.path())
            .arg("--socket")
            .arg(self.file("zserv.api"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        self.daemons.push(host.spawn(&mut command));
    }
}

impl Drop for Bgp {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // It may have ended by itself, which its test has noticed.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
