//! A virtual machine that is a node: a real kernel with VRFs, a client behind it, and an agent. The guest's side
//! is `e2e/node`.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use vrfgate_cluster::{HOST_OF_VM, Process};

use crate::kit::program;

/// How long the machine may take to boot, and to do what it is told. Emulated ones are slow.
const PATIENCE: Duration = Duration::from_mins(3);

/// It is stopped after so long, whatever became of the test.
const LIFE: Duration = Duration::from_mins(15);

/// The kernel that it runs.
const KERNEL: &str = "6.12";

/// A machine at work. Dropping it is a power cut.
pub struct Vm {
    process: Process,
    connection: BufReader<TcpStream>,
}

impl Vm {
    /// Boots one.
    pub fn boot() -> anyhow::Result<Self> {
        let directory = directory();
        fs::create_dir_all(&directory)?;
        for name in ["vrfgate", "vrfgate-lab-node"] {
            strip(&program(name), &directory.join(name))?;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let told_by = SocketAddr::from((HOST_OF_VM, listener.local_addr()?.port()));
        // A VM that reads its programs from this machine's file system does little else: it gets copies.
        let inside = "mkdir /run/node && cp \"$1\"/vrfgate* /run/node && shift && exec /run/node/vrfgate-lab-node \"$@\"";
        let (seconds, told_by) = (LIFE.as_secs().to_string(), told_by.to_string());
        let text = |path: &Path| path.display().to_string();
        #[rustfmt::skip]
        let arguments = [
            // One processor: see run-lab.sh of what may happen to an emulated second one.
            "--kernel", &kernel()?, "--cpus", "1", "--net", "--timeout", &seconds,
            "--rwdir", &text(&directory),
            "--", "bash", "-c", inside, "node", &text(&directory),
            "--told-by", &told_by, "--vrfgate", "/run/node/vrfgate",
            "--kubeconfig", &text(&kubeconfig()), "--log", &text(&agent_log()),
        ].map(str::to_owned);
        let mut process =
            Process::start("vm", &tools().join("vm.sh"), &arguments, &[], &directory)?;
        let stream = accept(&listener, &mut process)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            process,
            connection: BufReader::new(stream),
        })
    }

    /// Cuts the power, and boots again.
    pub fn reboot(self) -> anyhow::Result<Self> {
        drop(self);
        Self::boot()
    }

    /// Has it do something, and returns what it says.
    #[track_caller]
    pub fn tell(&mut self, words: &str) -> String {
        match self.exchange(words) {
            Ok(said) => said,
            Err(error) => panic!(
                "{words}: {error:#}\nVM: {}\nagent: {}",
                self.process.last_words(),
                agent_said()
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
        assert_eq!(seen, outcome, "{attempt}; agent: {}", agent_said());
    }

    /// The client's attempts end so, now or soon.
    #[track_caller]
    pub fn soon_sees(&mut self, attempt: &str, outcome: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.tell(attempt);
            if seen == outcome {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{attempt}: {seen}, not {outcome}; agent: {}",
                agent_said()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// What machine and test share.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("node")
}

/// Where the agent finds how to reach the API server.
pub fn kubeconfig() -> PathBuf {
    directory().join("kubeconfig")
}

fn agent_log() -> PathBuf {
    directory().join("agent.log")
}

/// The end of the agent's log.
pub fn agent_said() -> String {
    let log = fs::read_to_string(agent_log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
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
    let deadline = Instant::now() + PATIENCE;
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
