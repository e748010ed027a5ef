//! Too few descriptors, or too little memory: what can't be looked at is not taken for gone. The system answers so at
//! each call in turn, by prlimit(1) or strace(1).

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
};

use vrfgate_cni::{Attachments, place_of};
use vrfgate_core::{Attachment, Key};
use vrfgate_ebpf::{Gate, sk_lookup_programs};
use vrfgate_sandbox::{Started, soon};

use crate::sandbox::{Sandbox, leak};

/// More than any command opens at a time.
const ENOUGH: u32 = 64;

/// The gate and its guard.
const PROGRAMS: usize = 2;

impl Sandbox {
    /// A command behind another one, which has it meet a shortage.
    fn behind(&self, wrapper: &[String], command: &str) -> Output {
        let vrfgate = self.command(command);
        let mut line = Command::new(&wrapper[0]);
        line.args(&wrapper[1..])
            .arg(vrfgate.get_program())
            .args(vrfgate.get_args());
        if command == "run" {
            line.arg("--once");
        }
        line.finished().unwrap()
    }

    fn with_files(&self, most: u32, command: &str) -> Output {
        let limit = format!("--nofile={most}:{most}");
        self.behind(&["prlimit".to_owned(), limit, "--".to_owned()], command)
    }

    fn programs(&self) -> usize {
        sk_lookup_programs(&self.netns()).unwrap().len()
    }

    #[track_caller]
    fn assert_in_force(&self, when: &str) {
        let status = Gate::inspect(&self.store(), &self.netns());
        assert!(matches!(status, Ok(Some(_))), "{when}: {status:?}");
        assert_eq!(self.programs(), PROGRAMS, "{when}");
        assert_eq!(self.sysctls(), [true, false], "{when}");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files_in(sandbox: &Sandbox, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path(directory)).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The record of an attachment in the sandbox's namespace, which lives.
fn record_of(sandbox: &Sandbox) -> (Attachments, Key) {
    let attachments = Attachments::of(&sandbox.store());
    let netns = sandbox.netns();
    let path = format!("/run/netns/{}", sandbox.name());
    let key = Key {
        network: "blue".into(),
        container_id: "c1".into(),
        ifname: "net1".into(),
    };
    let attachment = Attachment {
        key: key.clone(),
        netns: place_of(&netns, path.as_ref()).unwrap(),
        pod: None,
        vrf: None,
        services: Vec::new(),
        addresses: Vec::new(),
    };
    attachments.write(&attachment).unwrap();
    (attachments, key)
}

#[test]
fn with_however_few_files_a_gate_stays_in_force() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("a.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    let mut failed = 0;
    for most in 4..ENOUGH {
        let output = sandbox.with_files(most, "run");
        sandbox.assert_in_force(&format!("with {most} files: {}", said(&output)));
        failed += u32::from(!output.status.success());
    }
    assert!((10..ENOUGH - 10).contains(&failed), "{failed} failed");
}

#[test]
fn with_however_few_files_a_gate_is_put_in_or_nothing_is_left_of_it() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("a.yaml", &leak("blue", "BLUE", 22));
    let mut failed = 0;
    for most in 4..ENOUGH {
        let output = sandbox.with_files(most, "run");
        let when = format!("with {most} files: {}", said(&output));
        if output.status.success() {
            sandbox.assert_in_force(&when);
        } else {
            failed += 1;
            assert_eq!(sandbox.sysctls(), [false, false], "{when}");
            soon(&when, || sandbox.programs() == 0);
            let mut pins = files_in(&sandbox, "bpf/vrfgate");
            // Maps that nothing uses yet, where even removing them takes more than there is: the next one does.
            pins.retain(|name| !name.starts_with("tracker-"));
            assert_eq!(pins, [""; 0], "{when}");
            let mut files = files_in(&sandbox, "run");
            // A lock is nothing that anybody acts on, and goes with its namespace.
            files.retain(|name| !name.contains(".lock"));
            assert_eq!(files, [""; 0], "{when}");
            sandbox.must("run", &["--once"]);
            sandbox.assert_in_force(&when);
        }
        sandbox.must("clear", &[]);
        assert_eq!(sandbox.sysctls(), [false, false], "{when}");
    }
    assert!((10..ENOUGH - 10).contains(&failed), "{failed} failed");
}

#[test]
fn with_however_few_files_a_gate_that_is_taken_away_never_leaves_the_door_open() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("a.yaml", &leak("blue", "BLUE", 22));
    let mut failed = 0;
    for most in 4..ENOUGH {
        sandbox.must("run", &["--once"]);
        let output = sandbox.with_files(most, "clear");
        let when = format!("with {most} files: {}", said(&output));
        if !output.status.success() {
            failed += 1;
            let [tcp, _] = sandbox.sysctls();
            assert!(!tcp || sandbox.programs() > 0, "{when}");
            sandbox.must("clear", &[]);
        }
        assert_eq!(sandbox.sysctls(), [false, false], "{when}");
        assert_eq!(files_in(&sandbox, "run"), [""; 0], "{when}");
    }
    assert!((10..ENOUGH - 10).contains(&failed), "{failed} failed");
}

/// A system call, and which of its kind.
struct Call {
    name: String,
    nth: usize,
}

/// The calls of a command by which it looks at something, but for most of those at processes.
fn looks(sandbox: &Sandbox, command: &str) -> Vec<Call> {
    let log = sandbox.path("strace.log");
    let log_at = log.to_str().unwrap();
    let strace = "strace -f -qq -e trace=openat,socket,bpf -o";
    let wrapper = strace.split(' ').chain([log_at]).map(str::to_owned);
    let output = sandbox.behind(&wrapper.collect::<Vec<_>>(), command);
    assert!(
        output.status.success(),
        "strace is needed: apt-get install strace: {}",
        said(&output)
    );
    let log = fs::read_to_string(log).unwrap();
    let (mut seen, mut of_processes) = (BTreeMap::new(), 0);
    let mut looks = Vec::new();
    for line in log.lines() {
        // A number, and the call: not the rest of one that was interrupted.
        let Some((name, arguments)) = line
            .split_once(' ')
            .and_then(|(_, call)| call.trim_start().split_once('('))
        else {
            continue;
        };
        let nth = seen.entry(name.to_owned()).or_insert(0);
        *nth += 1;
        if arguments.starts_with("AT_FDCWD, \"/proc/") && !arguments.contains("/proc/self") {
            of_processes += 1;
            if of_processes > 12 {
                continue;
            }
        }
        looks.push(Call {
            name: name.to_owned(),
            nth: *nth,
        });
    }
    assert!(looks.len() > 50, "strace did not see the work: {log}");
    looks
}

#[test]
fn what_cannot_be_looked_at_for_a_moment_is_not_taken_for_gone() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("a.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    let (attachments, key) = record_of(&sandbox);
    let calls = looks(&sandbox, "run");
    let record = sandbox.store().companion(sandbox.netns().id(), "json");
    let before = fs::read(&record).unwrap();
    for Call { name, nth } in &calls {
        let errno = if name == "bpf" { "ENOMEM" } else { "EMFILE" };
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:error={errno}:when={nth}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e"];
        let wrapper = strace.into_iter().chain([inject.as_str()]);
        let wrapper: Vec<String> = wrapper.map(str::to_owned).collect();
        let output = sandbox.behind(&wrapper, "run");
        let when = format!("{errno} at {name} number {nth}: {}", said(&output));
        sandbox.assert_in_force(&when);
        assert_eq!(fs::read(&record).unwrap(), before, "{when}");
        assert!(attachments.find(&key).unwrap().is_some(), "{when}");
    }
    sandbox.must("clear", &[]);
}
