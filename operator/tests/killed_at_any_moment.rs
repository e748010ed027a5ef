//! `kill -9` at every system call that changes something, while a gate is put in, changed, replaced by that
//! of another version and taken away. strace(1) does the killing: it ends the process on entry to its Nth such
//! call, for every N at which something changes. Between two of these calls nothing outside the process does,
//! so every state is seen.

use std::{
    collections::HashMap,
    fmt, fs,
    ops::Deref,
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use vrfgate_ebpf::{LAYOUT, Netns, sk_lookup_programs};
use vrfgate_sandbox::{Started, soon};

/// Everything by which attach and detach change kernel or files.
const CALLS: &str =
    "bpf,openat,write,rename,renameat2,mkdir,unlink,unlinkat,rmdir,flock,chmod,fchmodat";

/// What the two sysctls are before vrfgate comes, and must be again when it has gone. One is open on purpose: it must
/// not be forgotten that it was.
const FORMER: [bool; 2] = [false, true];

const LEAK: &str = "
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: blue}
spec:
  vrf: BLUE
  services:
    - {name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]}
";

/// The same leak after an edit that changes rules and a sysctl.
const EDITED: &str = "
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: blue}
spec:
  vrf: BLUE
  services:
    - {name: dns, protocol: UDP, port: 53, addresses: [192.0.2.1/32]}
";

/// How many a gate has: itself and its guard.
const PROGRAMS: usize = 2;

/// A system call of a command; strace counts each kind of call for itself.
struct Call {
    name: String,
    nth: usize,
}

struct Sandbox(vrfgate_sandbox::Sandbox);

impl Deref for Sandbox {
    type Target = vrfgate_sandbox::Sandbox;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Sandbox {
    fn new(name: &str) -> Self {
        let sandbox = Self(vrfgate_sandbox::Sandbox::new(name));
        sandbox.set_sysctls(FORMER);
        sandbox.write(LEAK);
        sandbox
    }

    fn write(&self, leak: &str) {
        fs::write(self.path("leak.yaml"), leak).unwrap();
    }

    /// Makes the gate one that another version has put in: with its map layout, or with ours.
    fn give_to_another_version(&self, layout: u32) {
        let id = self.netns().inode();
        let record = self.run_dir().join(format!("{id}.json"));
        let mut content: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        content["build"] = 1.into();
        content["layout"] = layout.into();
        fs::write(&record, content.to_string()).unwrap();
        let pins = self.pins();
        fs::rename(
            pins.join(format!("v{LAYOUT}")),
            pins.join(format!("v{layout}")),
        )
        .unwrap();
    }

    /// Runs `vrfgate` inside the namespace, so that all its work is done by one thread; strace counts the
    /// calls of each thread for itself.
    fn vrfgate(&self, wrapper: &[&str], command: &str) -> Output {
        let mut line = Command::new("ip");
        line.args(["netns", "exec", self.name()])
            .args(wrapper)
            .arg(env!("CARGO_BIN_EXE_vrfgate"))
            .arg("--bpffs")
            .arg(self.bpffs())
            .arg("--run-dir")
            .arg(self.run_dir())
            .arg(command);
        if command == "run" {
            line.arg("--once").arg("--file").arg(self.path("leak.yaml"));
        }
        line.finished().unwrap()
    }

    fn must(&self, command: &str, when: &str) {
        let output = self.vrfgate(&[], command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{when}: vrfgate {command}: {stderr}"
        );
    }

    /// The calls a command makes, in order.
    fn calls(&self, command: &str) -> Vec<Call> {
        let log = self.path("strace.log");
        let trace = format!("trace={CALLS}");
        let wrapper = [
            "strace",
            "-f",
            "-qq",
            "-e",
            &trace,
            "-o",
            log.to_str().unwrap(),
        ];
        let output = self.vrfgate(&wrapper, command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "strace is needed: apt-get install strace: {stderr}"
        );
        let log = fs::read_to_string(log).unwrap();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut calls = Vec::new();
        for line in log.lines() {
            let call = line.split_whitespace().nth(1).unwrap();
            let name = call.split_once('(').expect(line).0;
            let nth = seen.entry(name).or_default();
            *nth += 1;
            // Opening a file to read it changes nothing.
            if name == "openat" && !line.contains("O_CREAT") && !line.contains("O_WRONLY") {
                continue;
            }
            calls.push(Call {
                name: name.to_owned(),
                nth: *nth,
            });
        }
        assert!(calls.len() > 20, "strace did not see the work: {log}");
        calls
    }

    /// Runs a command that is killed on entry to this call. False when it came to its end without making that
    /// many: it looks through the machine's processes, whose number is not always the same.
    fn kill(&self, command: &str, Call { name, nth }: &Call) -> bool {
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:signal=KILL:when={nth}");
        let wrapper = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        let output = self.vrfgate(&wrapper, command);
        // strace ends itself as its tracee ended.
        let killed = output.status.signal() == Some(Signal::SIGKILL as i32);
        assert!(
            killed || output.status.success(),
            "vrfgate {command} was to be killed at {name} number {nth} and failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        killed
    }

    /// Kills a command at one of its calls after the other; `before` and `after` are told which.
    fn kill_at_each(
        &self,
        command: &str,
        calls: &[Call],
        before: impl Fn(&str),
        after: impl Fn(&str),
    ) {
        let mut missed = Vec::new();
        for call in calls {
            let when = format!("{command}, killed at {} number {}", call.name, call.nth);
            before(&when);
            if !self.kill(command, call) {
                missed.push(when.clone());
            }
            after(&when);
        }
        assert!(
            missed.len() * 10 <= calls.len(),
            "ended before they could be killed: {missed:?}"
        );
    }

    fn has_gate(&self) -> bool {
        self.gates() > 0
    }

    /// Twice [`PROGRAMS`] while one gate replaces the other.
    fn gates(&self) -> usize {
        let netns = Netns::open(self.name()).unwrap();
        sk_lookup_programs(&netns).unwrap().len()
    }

    /// The kernel lets a link go some time after its last pin and its last process have gone.
    fn assert_gates_soon(&self, wanted: usize, when: &str) {
        let what = fmt::from_fn(|f| write!(f, "{when}: {wanted} programs, but {}", self.gates()));
        soon(what, || self.gates() == wanted);
    }

    fn assert_no_open_door(&self, when: &str) {
        let [tcp, _] = self.sysctls();
        assert!(
            !tcp || self.has_gate(),
            "{when}: tcp_l3mdev_accept is 1 without a gate"
        );
    }

    fn assert_untouched(&self, when: &str) {
        assert_eq!(self.sysctls(), FORMER, "{when}");
        self.assert_gates_soon(0, when);
        let pins = fs::read_dir(self.path("bpf/vrfgate")).unwrap().count();
        let files = fs::read_dir(self.path("run")).unwrap().count();
        assert_eq!((pins, files), (0, 0), "{when}: pins and files left behind");
    }
}

#[test]
fn a_gate_that_is_being_put_in_never_leaves_the_door_open_and_can_always_be_put_in_again() {
    let sandbox = Sandbox::new("attach");
    // The first time makes directories that stay.
    sandbox.must("run", "before counting");
    sandbox.must("clear", "before counting");
    let calls = sandbox.calls("run");
    sandbox.must("clear", "after counting");
    let again = |when: &str| {
        sandbox.assert_no_open_door(when);
        sandbox.must("run", when);
        assert_eq!(sandbox.sysctls(), [true, true], "{when}");
        assert!(sandbox.has_gate(), "{when}");
        sandbox.must("clear", when);
        sandbox.assert_untouched(when);
    };
    sandbox.kill_at_each("run", &calls, |_| (), again);
}

#[test]
fn a_gate_that_is_being_taken_away_never_leaves_the_door_open_and_can_always_be_taken_away_again() {
    let sandbox = Sandbox::new("detach");
    sandbox.must("run", "before counting");
    let calls = sandbox.calls("clear");
    sandbox.assert_untouched("after counting");
    let again = |when: &str| {
        sandbox.assert_no_open_door(when);
        sandbox.must("clear", when);
        sandbox.assert_untouched(when);
    };
    sandbox.kill_at_each("clear", &calls, |when| sandbox.must("run", when), again);
}

#[test]
fn an_edit_never_leaves_the_door_open_and_can_always_be_made_again() {
    let sandbox = Sandbox::new("edit");
    sandbox.must("run", "before counting");
    sandbox.write(EDITED);
    let calls = sandbox.calls("run");
    let before = |when: &str| {
        sandbox.write(LEAK);
        sandbox.must("run", when);
        sandbox.write(EDITED);
    };
    let again = |when: &str| {
        sandbox.assert_no_open_door(when);
        sandbox.must("run", when);
        assert_eq!(sandbox.sysctls(), [true, true], "{when}");
        sandbox.assert_gates_soon(PROGRAMS, when);
    };
    sandbox.kill_at_each("run", &calls, before, again);
    sandbox.must("clear", "after the last edit");
    sandbox.assert_untouched("after the last edit");
}

#[test]
fn a_gate_that_replaces_another_versions_is_never_missing_and_ends_up_alone() {
    let sandbox = Sandbox::new("upgrade");
    for layout in [LAYOUT, LAYOUT - 1] {
        sandbox.must("run", "before counting");
        sandbox.give_to_another_version(layout);
        let calls = sandbox.calls("run");
        let before = |_: &str| sandbox.give_to_another_version(layout);
        let again = |when: &str| {
            assert!(sandbox.has_gate(), "layout {layout}, {when}");
            sandbox.must("run", when);
            assert_eq!(sandbox.sysctls(), [true, true], "layout {layout}, {when}");
            sandbox.assert_gates_soon(PROGRAMS, when);
        };
        sandbox.kill_at_each("run", &calls, before, again);
        sandbox.must("clear", "after the last replacement");
        sandbox.assert_untouched("after the last replacement");
    }
}
