//! A namespace with a BPF file system and a directory of leaks of its own, and the command in it.

use std::{
    ffi::CString,
    fs,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use tempfile::TempDir;
use vrfgate_ebpf::{L3mdevAccept, Netns, Store};
use vrfgate_operator::node::Report;

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

pub struct Sandbox {
    pub name: String,
    directory: TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test attaches BPF programs to network namespaces: run it as root (`make test` does)"
        );
        let directory = TempDir::new().unwrap();
        let bpffs = directory.path().join("bpf");
        fs::create_dir(&bpffs).unwrap();
        fs::create_dir(directory.path().join("leaks")).unwrap();
        mount(
            Some("bpf"),
            &bpffs,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("vrfgate-cli-{}-{number}", std::process::id());
        let sandbox = Self { name, directory };
        let made = Command::new("ip")
            .args(["netns", "add", &sandbox.name])
            .status();
        assert!(
            made.expect("ip(8) is needed: apt-get install iproute2")
                .success()
        );
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn store(&self) -> Store {
        Store::new(self.path("bpf"), self.path("run"))
    }

    pub fn netns(&self) -> Netns {
        Netns::open(&self.name).unwrap()
    }

    /// Adds or deletes the namespace's name.
    pub fn ip_netns(&self, command: &str) {
        let done = Command::new("ip")
            .args(["netns", command, &self.name])
            .status();
        assert!(done.unwrap().success(), "ip netns {command}");
    }

    pub fn ip(&self, arguments: &str) {
        let done = Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments.split(' '))
            .status();
        assert!(done.unwrap().success(), "ip {arguments}");
    }

    pub fn command(&self, command: &str) -> Command {
        let mut line = Command::new(env!("CARGO_BIN_EXE_vrfgate"));
        line.arg("--bpffs")
            .arg(self.path("bpf"))
            .arg("--run-dir")
            .arg(self.path("run"))
            .args([command, "--netns", &self.name]);
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
        } = self.command(command).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "vrfgate {command}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    pub fn write_leaks(&self, file: &str, text: &str) {
        fs::write(self.path("leaks").join(file), text).unwrap();
    }

    pub fn sysctls(&self) -> (Option<bool>, Option<bool>) {
        let L3mdevAccept { tcp, udp } = L3mdevAccept::read(&self.netns()).unwrap();
        (tcp, udp)
    }

    pub fn set_sysctls(&self, tcp: bool, udp: bool) {
        let values = L3mdevAccept {
            tcp: Some(tcp),
            udp: Some(udp),
        };
        values.write(&self.netns()).unwrap();
    }

    pub fn link_pin(&self) -> PathBuf {
        let pins = self.path("bpf/vrfgate").join(self.netns().id().to_string());
        pins.join("link")
    }

    /// Detaches both links of the gate by force.
    pub fn detach_gate(&self) {
        let pin = self.link_pin();
        detach_link(&pin.with_file_name("guard-link"));
        detach_link(&pin);
    }

    pub fn report(&self) -> Report {
        Report::load(&self.store(), &self.netns())
            .unwrap()
            .unwrap_or_default()
    }

    /// `vrfgate run` until the value goes.
    pub fn run(&self) -> Running {
        let child = self.command("run").stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        self.eventually("the gate is put in", |sandbox| {
            sandbox.sysctls() == (Some(true), Some(false))
        });
        running
    }

    pub fn eventually(&self, what: &str, mut happened: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !happened(self) {
            assert!(Instant::now() < end, "never: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        let _ = umount2(&self.path("bpf"), MntFlags::MNT_DETACH);
    }
}

pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Detaches a pinned link by force, as `bpftool link detach` does: the pin stays and the gate is out.
fn detach_link(pin: &Path) {
    /// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of `enum bpf_cmd`.
    const OBJ_GET: libc::c_long = 7;
    const LINK_DETACH: libc::c_long = 34;
    let bpf = |command: libc::c_long, attr: &[u64; 8]| {
        // SAFETY: `attr` is valid for its size, and the path that it may point to outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), 64) };
        assert!(result >= 0, "{}", std::io::Error::last_os_error());
        u64::try_from(result).unwrap()
    };
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let mut attr = [0; 8];
    attr[0] = path.as_ptr() as u64;
    let link = bpf(OBJ_GET, &attr);
    attr[0] = u64::from(u32::try_from(link).unwrap().to_le());
    bpf(LINK_DETACH, &attr);
    // SAFETY: a descriptor that nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(link).unwrap()) });
}
