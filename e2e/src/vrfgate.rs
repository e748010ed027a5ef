//! vrfgate, driven from outside as its users do: by its command line, its files and its signals.

use std::{
    ffi::OsStr,
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Host, Lab, Started, soon};

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Which `vrfgate` every [`Lab::vrfgate`] is. The first word counts; without any, it is the one on PATH.
pub fn use_vrfgate(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

impl Lab {
    /// vrfgate for this router, with a BPF file system and a state directory of its own, not started yet.
    #[must_use]
    pub fn vrfgate(&self) -> Vrfgate {
        Vrfgate::new(self)
    }
}

/// vrfgate at work on one lab's router. Dropping it takes the gate away with everything else.
#[derive(Debug)]
pub struct Vrfgate {
    router: Host,
    home: TempDir,
    running: Option<Child>,
}

impl Vrfgate {
    fn new(router: &Host) -> Self {
        let home = tempfile::Builder::new()
            .prefix("vrfgate-lab-")
            // Open to all, because one test has no privileges.
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/run")
            .unwrap_or_else(|error| panic!("a directory for vrfgate: {error}"));
        let bpffs = home.path().join("bpf");
        let mounted = fs::create_dir(&bpffs).and_then(|()| {
            let none = None::<&str>;
            mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), none)?;
            Ok(())
        });
        mounted.unwrap_or_else(|error| panic!("a BPF file system at {}: {error}", bpffs.display()));
        Self {
            router: router.clone(),
            home,
            running: None,
        }
    }

    /// The file of leaks.
    #[must_use]
    pub fn leaks(&self) -> PathBuf {
        self.home.path().join("leaks.yaml")
    }

    /// Its BPF file system, where the pins are.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.home.path().join("bpf")
    }

    /// Where its records are.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// Takes its BPF file system away. The pins go with it, and the gate with its pins.
    pub fn unmount_bpffs(&self) {
        // Fails when it is gone already, which is what was asked for.
        let _ = umount2(&self.bpffs(), MntFlags::MNT_DETACH);
    }

    /// Writes the file of leaks, in one step as editors do. A running vrfgate follows.
    #[track_caller]
    pub fn write(&self, leaks: &str) {
        let (new, file) = (self.home.path().join("leaks.new"), self.leaks());
        let written = fs::write(&new, leaks).and_then(|()| fs::rename(&new, &file));
        written.unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
    }

    /// Puts leaks into force and leaves: `vrfgate run --once`.
    #[track_caller]
    pub fn apply(&self, leaks: &str) {
        self.write(leaks);
        let output = self.run_once();
        assert!(output.status.success(), "{}", complaint(&output));
    }

    /// As [`Vrfgate::apply`], although sockets share TCP ports. Linux 6.8 and later may crash of it: whoever does this
    /// connects to one of the two only, and shuts neither down.
    #[must_use]
    #[track_caller]
    pub fn apply_although_ports_are_shared(&self, leaks: &str) -> Output {
        self.write(leaks);
        let file = self.leaks();
        let file = file.to_string_lossy();
        let output = self.call(&["run", "--once", "--accept-shared-ports", "-f", &file]);
        assert!(output.status.success(), "{}", complaint(&output));
        output
    }

    /// `vrfgate run --once` on the file of leaks as it is.
    #[must_use]
    #[track_caller]
    pub fn run_once(&self) -> Output {
        let leaks = self.leaks();
        self.call(&["run", "--once", "-f", &leaks.to_string_lossy()])
    }

    /// Starts `vrfgate run` with leaks, and waits until they are in force.
    #[track_caller]
    pub fn start(&mut self, leaks: &str) {
        self.write(leaks);
        self.restart();
    }

    /// Starts `vrfgate run` on the file of leaks as it is, and waits until it looks after the namespace.
    #[track_caller]
    pub fn restart(&mut self) {
        let log = fs::File::create(self.log()).unwrap_or_else(|error| panic!("a log: {error}"));
        let leaks = self.leaks();
        let child = self
            .command(&["run", "-f", &leaks.to_string_lossy()])
            .stderr(log)
            .stdout(Stdio::null())
            .started();
        self.running = Some(child.unwrap_or_else(|error| panic!("starting vrfgate: {error}")));
        // It reports what it found once the gate is as it should be.
        self.should_say("leak");
    }

    /// Its log says so, now or soon.
    #[track_caller]
    pub fn should_say(&self, words: &str) {
        let says = fmt::from_fn(|f| write!(f, "vrfgate says {words:?}; it said:\n{}", self.said()));
        soon(says, || self.said().contains(words));
    }

    /// Its status tells so, now or soon.
    #[track_caller]
    pub fn should_soon_tell(&self, words: &str) {
        let tells = fmt::from_fn(|f| {
            let (status, said) = (self.status_text(), self.said());
            write!(f, "status tells {words:?}:\n{status}\n{said}")
        });
        soon(tells, || self.status_text().contains(words));
    }

    /// What the running vrfgate has logged.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Process number of the running vrfgate.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running
            .as_ref()
            .map_or_else(|| panic!("vrfgate doesn't run"), Child::id)
    }

    /// The pins of its gate; where they would be, when there are none.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        let netns = self.router.netns().inode();
        self.bpffs().join("vrfgate").join(netns.to_string())
    }

    /// SIGKILL: no word of farewell.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// SIGTERM, which it takes as the end of a good day.
    #[track_caller]
    pub fn terminate(&mut self) {
        let status = self.end(Signal::SIGTERM);
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// `vrfgate clear`.
    #[track_caller]
    pub fn clear(&self) {
        let output = self.call(&["clear"]);
        assert!(output.status.success(), "{}", complaint(&output));
    }

    /// `vrfgate status -o json`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Value {
        let output = self.call(&["status", "-o", "json"]);
        assert!(output.status.success(), "{}", complaint(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `vrfgate status`, as people read it.
    #[must_use]
    #[track_caller]
    pub fn status_text(&self) -> String {
        String::from_utf8_lossy(&self.call(&["status"]).stdout).into_owned()
    }

    /// Runs a command of vrfgate on this lab's router to its end.
    #[must_use]
    #[track_caller]
    pub fn call(&self, arguments: &[impl AsRef<OsStr>]) -> Output {
        let output = self.command(arguments).finished();
        output.unwrap_or_else(|error| panic!("starting vrfgate: {error}"))
    }

    /// A command of vrfgate on this lab's router, to be started.
    #[must_use]
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .args(["--netns", self.router.netns().name()])
            .arg("--bpffs")
            .arg(self.bpffs())
            .arg("--run-dir")
            .arg(self.run_dir());
        command
    }

    /// `vrfgate` as a service of the router itself, with these capabilities and no others. It can't enter
    /// namespaces, so it is started in the router's.
    #[must_use]
    #[track_caller]
    pub fn with_capabilities(&self, capabilities: &[&str], arguments: &[&str]) -> Output {
        let mut set = vec!["-all".to_owned()];
        set.extend(
            capabilities
                .iter()
                .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase())),
        );
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--bounding-set={}", set.join(",")))
            .args(["--inh-caps=-all", "--no-new-privs", "--"])
            .arg(program())
            .args(arguments)
            .arg("--bpffs")
            .arg(self.bpffs())
            .arg("--run-dir")
            .arg(self.run_dir());
        let output = self.router.netns().enter(|| command.finished());
        output.unwrap_or_else(|error| panic!("setpriv: {error}"))
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    #[track_caller]
    fn end(&mut self, signal: Signal) -> ExitStatus {
        let Some(mut child) = self.running.take() else {
            panic!("vrfgate doesn't run");
        };
        let pid = i32::try_from(child.id()).map(Pid::from_raw);
        let ended = pid
            .map_err(std::io::Error::other)
            .and_then(|pid| Ok(kill(pid, signal)?))
            .and_then(|()| child.wait());
        ended.unwrap_or_else(|error| panic!("ending vrfgate by {signal}: {error}"))
    }
}

impl Drop for Vrfgate {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            // It may have ended by itself, which its test has noticed.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.unmount_bpffs();
    }
}

/// The program under test.
#[must_use]
pub fn program() -> &'static Path {
    PROGRAM.get().map_or(Path::new("vrfgate"), PathBuf::as_path)
}

/// What a command said when it failed.
#[must_use]
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned()
}
