//! A virtual machine that is a node: a real kernel with VRFs, a client, and an agent; a kubelet as well, if need be.
//! The guest's side is `e2e/node`.

use std::{
    cell::RefCell,
    env, fmt, fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use vrfgate_cluster::{HOST_OF_VM, Process};
use vrfgate_sandbox::soon;

use crate::kit::program;

/// How long the machine may take to boot, and to do what it is told. Emulated ones are slow.
const TIMEOUT: Duration = Duration::from_mins(3);

/// It is stopped after so long, whatever became of the test.
const LIFE: Duration = Duration::from_mins(40);

/// The kernel that it runs.
const KERNEL: &str = "6.12";

/// Which kind of node a machine is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// It has VRF BLUE, and a client behind it.
    Router,
    /// It runs pods, whose interface is in a VRF, and has a client beside them.
    Worker,
}

/// A machine at work. Dropping it is a power cut.
pub struct Vm {
    kind: Kind,
    process: Process,
    connection: BufReader<TcpStream>,
}

impl Vm {
    /// Boots one.
    pub fn boot(kind: Kind) -> anyhow::Result<Self> {
        let directory = directory();
        let programs = directory.join("programs");
        for earlier in [&programs, &log_directory()] {
            let _ = fs::remove_dir_all(earlier);
        }
        fs::create_dir_all(programs.join("cni"))?;
        fs::create_dir_all(log_directory())?;
        for name in ["vrfgate", "vrfgate-lab-node"] {
            strip(&program(name), &programs.join(name))?;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let told_by = SocketAddr::from((HOST_OF_VM, listener.local_addr()?.port()));
        // A VM that reads its programs from this machine's file system does little else: it gets copies.
        let inside = "cp -rL \"$1\" /run/node && shift && exec /run/node/vrfgate-lab-node \"$@\"";
        let (seconds, told_by) = (LIFE.as_secs().to_string(), told_by.to_string());
        let text = |path: &Path| path.display().to_string();
        #[rustfmt::skip]
        let mut arguments = [
            // One processor: see run-lab.sh of what may happen to an emulated second one.
            "--kernel", &kernel()?, "--cpus", "1", "--memory", "3G", "--net", "--timeout", &seconds,
            "--rwdir", &text(&directory),
            "--", "bash", "-c", inside, "node", &text(&programs),
            "--told-by", &told_by, "--vrfgate", "/run/node/vrfgate",
            "--kubeconfigs", &text(&directory), "--logs", &text(&log_directory()),
        ].map(str::to_owned).to_vec();
        match kind {
            Kind::Router => arguments.push("router".to_owned()),
            Kind::Worker => {
                add_kubelet(&programs)?;
                arguments.extend(["worker", "--programs", "/run/node"].map(str::to_owned));
            }
        }
        let mut process =
            Process::start("vm", &tools().join("vm.sh"), &arguments, &[], &directory)?;
        let stream = accept(&listener, &mut process)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            kind,
            process,
            connection: BufReader::new(stream),
        })
    }

    /// Cuts the power, and boots again.
    pub fn reboot(self) -> anyhow::Result<Self> {
        let kind = self.kind;
        drop(self);
        Self::boot(kind)
    }

    /// Has it do something, and returns what it says.
    #[track_caller]
    pub fn tell(&mut self, words: &str) -> String {
        match self.exchange(words) {
            Ok(said) => said,
            Err(error) => panic!(
                "{words}: {error:#}\nVM: {}\n{}",
                self.process.last_words(),
                said()
            ),
        }
    }

    fn exchange(&mut self, words: &str) -> anyhow::Result<String> {
        writeln!(self.connection.get_mut(), "{words}")?;
        let mut line = String::new();
        self.connection.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the machine is gone");
        let answer: Value = serde_json::from_str(&line)?;
        if let Some(failed) = answer["failed"].as_str() {
            anyhow::bail!("{failed}");
        }
        Ok(answer["said"].as_str().unwrap_or_default().to_owned())
    }

    /// The client's next attempt ends so.
    #[track_caller]
    pub fn sees(&mut self, attempt: &str, outcome: &str) {
        let seen = self.tell(attempt);
        assert_eq!(seen, outcome, "{attempt}; {}", said());
    }

    /// The client's attempts end so, now or soon.
    #[track_caller]
    pub fn soon_sees(&mut self, attempt: &str, outcome: &str) {
        let last = RefCell::new(String::new());
        let what =
            fmt::from_fn(|f| write!(f, "{attempt}: {outcome}, but {}; {}", last.borrow(), said()));
        soon(what, || {
            let seen = self.tell(attempt);
            let met = seen == outcome;
            last.replace(seen);
            met
        });
    }
}

/// What machine and test share.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("node")
}

/// Where an agent or a kubelet finds how to reach the API server.
pub fn kubeconfig(of: &str) -> PathBuf {
    directory().join(of).with_extension("kubeconfig")
}

fn log_directory() -> PathBuf {
    directory().join("logs")
}

/// All logs, those of containers included.
pub fn logs() -> Vec<(PathBuf, String)> {
    let mut logs = Vec::new();
    let mut directories = vec![log_directory()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(log) = fs::read_to_string(&path) {
                logs.push((path, log));
            }
        }
    }
    logs
}

/// The ends of all logs.
pub fn said() -> String {
    let ends = logs().into_iter().map(|(path, log)| {
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{}:\n{end}\n", path.display())
    });
    ends.collect()
}

/// What a kubelet needs, beside the programs that each node has.
fn add_kubelet(programs: &Path) -> anyhow::Result<()> {
    strip(&program("vrfgate-cni"), &programs.join("cni/vrfgate"))?;
    let named = |variable: &str| {
        let path = env::var_os(variable).map(PathBuf::from);
        path.ok_or_else(|| anyhow::anyhow!("{variable} is not set: `make test-k8s` does it"))
    };
    for (to, from) in [("kubelet", named("KUBELET")?), ("runc", named("RUNC")?)] {
        symlink(from, programs.join(to))?;
    }
    let plugins = named("CNI_PLUGINS")?;
    for plugin in ["bridge", "host-local", "vrf"] {
        symlink(plugins.join(plugin), programs.join("cni").join(plugin))?;
    }
    let containerd = named("CONTAINERD")?;
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        symlink(containerd.join(program), programs.join(program))?;
    }
    let image = Command::new(tools().join("pod-image.sh"))
        .arg(programs.join("image.tar"))
        .output()?;
    anyhow::ensure!(
        image.status.success(),
        "{}",
        String::from_utf8_lossy(&image.stderr)
    );
    Ok(())
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools")
}

/// Downloads it, if need be.
fn kernel() -> anyhow::Result<String> {
    let output = Command::new(tools().join("kernels.sh"))
        .arg(KERNEL)
        .output()?;
    let line = String::from_utf8(output.stdout)?;
    line.split_whitespace()
        .nth(2)
        .map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Copies a program without what is for debuggers.
fn strip(program: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("strip")
        .args(["--strip-debug", "-o"])
        .args([to, program])
        .status()?;
    anyhow::ensure!(status.success(), "stripping {}", program.display());
    Ok(())
}

fn accept(listener: &TcpListener, process: &mut Process) -> anyhow::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => process.check_running()?,
            Err(error) => return Err(error.into()),
        }
        let words = process.last_words();
        anyhow::ensure!(
            Instant::now() < deadline,
            "the machine doesn't boot: {words}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}
