//! The router of a lab as a machine that packages are installed on: with the files of this one, a package database that
//! knows of nothing yet, and everything that is written kept away from this machine.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use vrfgate_e2e::{Lab, Started};

use crate::suite::soon;

/// Where the package has its unit.
const UNIT: &str = "lib/systemd/system/vrfgate.service";

/// Dropping it ends the service, takes the gate away with its pins, and forgets what was written.
pub struct Machine<'a> {
    lab: &'a Lab,
    home: TempDir,
    service: Option<Child>,
}

impl<'a> Machine<'a> {
    #[track_caller]
    pub fn of(lab: &'a Lab) -> Self {
        let home = tempfile::Builder::new()
            .prefix("vrfgate-machine-")
            .tempdir_in("/run")
            .unwrap_or_else(|error| panic!("a directory for a machine: {error}"));
        let machine = Self {
            lab,
            home,
            service: None,
        };
        machine
            .mount()
            .unwrap_or_else(|error| panic!("the files of a machine: {error}"));
        machine
    }

    fn mount(&self) -> std::io::Result<()> {
        let home = self.home.path();
        for directory in ["written", "work", "root"] {
            fs::create_dir(home.join(directory))?;
        }
        let layers = format!(
            "lowerdir=/,upperdir={0}/written,workdir={0}/work",
            home.display()
        );
        let none = None::<&str>;
        mount(
            Some("overlay"),
            &self.path(""),
            Some("overlay"),
            MsFlags::empty(),
            Some(layers.as_str()),
        )?;
        let whole = MsFlags::MS_BIND | MsFlags::MS_REC;
        for shared in ["dev", "proc", "sys"] {
            let from = Path::new("/").join(shared);
            mount(Some(&from), &self.path(shared), none, whole, none)?;
            // Mounts over these must not reach this machine.
            let apart = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(none, &self.path(shared), none, apart, none)?;
        }
        for own in ["run", "tmp", "var/lib/dpkg"] {
            mount(
                Some("tmpfs"),
                &self.path(own),
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )?;
        }
        mount(
            Some("bpf"),
            &self.path("sys/fs/bpf"),
            Some("bpf"),
            MsFlags::empty(),
            none,
        )?;
        for directory in ["info", "updates", "triggers"] {
            fs::create_dir(self.path("var/lib/dpkg").join(directory))?;
        }
        fs::write(self.path("var/lib/dpkg/status"), "")
    }

    /// A path of the machine, as this process sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.home.path().join("root").join(path)
    }

    /// Files that are not this machine's, but for logs.
    #[track_caller]
    pub fn written(&self) -> BTreeSet<String> {
        let mut find = Command::new("find");
        find.arg(self.home.path().join("written")).args([
            "-type",
            "f",
            "-not",
            "-path",
            "*/var/log/*",
            "-printf",
            "/%P\n",
        ]);
        let found = find
            .finished()
            .unwrap_or_else(|error| panic!("find: {error}"));
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        found.lines().map(ToOwned::to_owned).collect()
    }

    /// A command on the machine.
    fn command(&self, program: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(self.path(""))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// What a command says to its end, on the machine.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[impl AsRef<OsStr>]) -> String {
        let mut command = self.command(program, arguments);
        let output = self.lab.netns().enter(|| command.finished());
        let Output {
            status,
            stdout,
            stderr,
        } = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let said =
            String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{program}: {said}");
        said
    }

    /// Starts the service as systemd would: its unit's command, with its unit's capabilities, and waits until the gate
    /// is in force.
    #[track_caller]
    pub fn start_service(&mut self) {
        let unit = fs::read_to_string(self.path(UNIT)).unwrap_or_else(|error| panic!("{error}"));
        let line = |key: &str| {
            let found = unit.lines().find_map(|line| line.strip_prefix(key));
            found.unwrap_or_else(|| panic!("the unit has no {key}"))
        };
        let capabilities: Vec<String> = line("CapabilityBoundingSet=")
            .split_whitespace()
            .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let mut arguments = vec![
            format!("--bounding-set=-all,{}", capabilities.join(",")),
            "--inh-caps=-all".to_owned(),
            "--no-new-privs".to_owned(),
            "--".to_owned(),
        ];
        arguments.extend(line("ExecStart=").split_whitespace().map(ToOwned::to_owned));
        let directory = self.path("run").join(line("RuntimeDirectory="));
        let log = self.home.path().join("log");
        let file = fs::create_dir_all(&directory).and_then(|()| fs::File::create(&log));
        let file = file.unwrap_or_else(|error| panic!("{error}"));
        let mut command = self.command("setpriv", &arguments);
        let service = self.lab.spawn(command.stdout(Stdio::null()).stderr(file));
        self.service = Some(service);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        soon("the service says what it has put into force", || {
            said().contains("leak")
        });
    }

    /// Stops the service as systemd would.
    #[track_caller]
    pub fn stop_service(&mut self) {
        let Some(mut service) = self.service.take() else {
            panic!("the service doesn't run");
        };
        let asked = i32::try_from(service.id())
            .map_err(std::io::Error::other)
            .and_then(|pid| Ok(kill(Pid::from_raw(pid), Signal::SIGTERM)?))
            .and_then(|()| service.wait());
        let status = asked.unwrap_or_else(|error| panic!("stopping the service: {error}"));
        assert!(status.success(), "{status}");
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
        // Nothing can be done about what can't be removed; it is nobody else's.
        let _ = umount2(&self.path("sys/fs/bpf"), MntFlags::MNT_DETACH);
        for mounted in ["dev", "proc", "sys", ""] {
            let _ = umount2(&self.path(mounted), MntFlags::MNT_DETACH);
        }
    }
}
