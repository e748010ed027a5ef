//! The node engine and the `vrfgate` command as an operator of one machine meets them: files and devices in,
//! gate, sysctls and status out. This kernel may lack VRFs; where one is needed, the facts are made up.

use std::{
    ffi::CString,
    fs,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
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
use vrfgate_ebpf::{Gate, L3mdevAccept, Mode, Netns, Store, sk_lookup_programs};
use vrfgate_operator::{
    api::read_leaks,
    compile::{Link, LinkKind, LocalAddress, NodeFacts},
    node::{Engine, LeakFiles, Repair, Report, Watcher},
};

fn leak(name: &str, vrf: &str, port: u16) -> String {
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

struct Sandbox {
    name: String,
    directory: TempDir,
}

impl Sandbox {
    fn new() -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self) -> Store {
        Store::new(self.path("bpf"), self.path("run"))
    }

    fn netns(&self) -> Netns {
        Netns::open(&self.name).unwrap()
    }

    /// Adds or deletes the namespace's name.
    fn ip_netns(&self, command: &str) {
        let done = Command::new("ip")
            .args(["netns", command, &self.name])
            .status();
        assert!(done.unwrap().success(), "ip netns {command}");
    }

    fn ip(&self, arguments: &str) {
        let done = Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments.split(' '))
            .status();
        assert!(done.unwrap().success(), "ip {arguments}");
    }

    fn command(&self, command: &str) -> Command {
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

    fn must(&self, command: &str, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(command).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "vrfgate {command}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    fn write_leaks(&self, file: &str, text: &str) {
        fs::write(self.path("leaks").join(file), text).unwrap();
    }

    fn sysctls(&self) -> (Option<bool>, Option<bool>) {
        let L3mdevAccept { tcp, udp } = L3mdevAccept::read(&self.netns()).unwrap();
        (tcp, udp)
    }

    fn set_sysctls(&self, tcp: bool, udp: bool) {
        let values = L3mdevAccept {
            tcp: Some(tcp),
            udp: Some(udp),
        };
        values.write(&self.netns()).unwrap();
    }

    fn link_pin(&self) -> PathBuf {
        let pins = self.path("bpf/vrfgate").join(self.netns().id().to_string());
        pins.join("link")
    }

    /// Both its links.
    fn detach_gate(&self) {
        let pin = self.link_pin();
        detach_link(&pin.with_file_name("guard-link"));
        detach_link(&pin);
    }

    fn report(&self) -> Report {
        Report::load(&self.store(), &self.netns())
            .unwrap()
            .unwrap_or_default()
    }

    /// `vrfgate run` until the value goes.
    fn run(&self) -> Running {
        let child = self.command("run").stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        self.eventually("the gate is put in", |sandbox| {
            sandbox.sysctls() == (Some(true), Some(false))
        });
        running
    }

    fn eventually(&self, what: &str, mut happened: impl FnMut(&Self) -> bool) {
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

struct Running(Child);

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

#[test]
fn a_running_vrfgate_follows_devices_and_files_and_says_so_in_its_report() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let _running = sandbox.run();
    sandbox.eventually("the leak waits for its VRF", |sandbox| {
        let leaks = sandbox.report().leaks;
        leaks.len() == 1 && leaks[0].notes == ["waits for VRF BLUE to be created"]
    });
    sandbox.ip("link add BLUE type veth peer name green");
    sandbox.eventually("the new device is seen", |sandbox| {
        sandbox.report().leaks[0].notes[0].ends_with("is no VRF")
    });

    sandbox.write_leaks("red.yaml", "kind: [");
    sandbox.eventually("the mistake is reported", |sandbox| {
        sandbox
            .report()
            .errors
            .iter()
            .any(|error| error.contains("red.yaml"))
    });
    assert_eq!(sandbox.report().leaks.len(), 1, "the old leak is in force");
    sandbox.write_leaks("red.yaml", &leak("red", "RED", 22));
    sandbox.eventually("the mended file is read", |sandbox| {
        let Report {
            leaks,
            routes: _,
            steering: _,
            errors,
            ..
        } = sandbox.report();
        leaks.len() == 2 && errors.is_empty()
    });
}

#[test]
fn a_running_vrfgate_puts_a_gate_in_again_that_was_detached_by_force() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let running = sandbox.run();
    sandbox.detach_gate();
    sandbox.eventually("a new gate", |sandbox| {
        !sk_lookup_programs(&sandbox.netns()).unwrap().is_empty()
            && sandbox.sysctls() == (Some(true), Some(false))
    });
    drop(running);
    sandbox.must("clear", &[]);
    assert_eq!(sandbox.sysctls(), (Some(false), Some(false)));
}

#[test]
fn what_something_else_did_and_what_was_done_about_it_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let running = sandbox.run();
    assert!(!sandbox.must("status", &[]).contains("REPAIRED"));

    for _ in 0..2 {
        sandbox.set_sysctls(false, false);
        sandbox.eventually("the sysctl is set again", |sandbox| {
            sandbox.sysctls() == (Some(true), Some(false))
        });
    }
    fs::remove_dir_all(sandbox.path("bpf/vrfgate")).unwrap();
    let told = |sandbox: &Sandbox| -> Vec<(String, u64)> {
        let repairs = sandbox.report().repairs;
        let entry = |repair: &Repair| (repair.what.clone(), repair.count);
        repairs.all().iter().map(entry).collect()
    };
    // The gate is renewed as well: its program asks the tracker, which has its pins there, too.
    sandbox.eventually("pins and tracker are there again", |sandbox| {
        told(sandbox).len() == 3
    });
    sandbox.detach_gate();
    sandbox.eventually("all is told", |sandbox| told(sandbox).len() == 4);
    let repairs = told(&sandbox);
    for (words, count) in [
        ("net.ipv4.tcp_l3mdev_accept had been set to 0", 2),
        ("pins had been removed", 1),
        ("tracker of bound listeners had been removed", 1),
        ("its link has been detached", 1),
    ] {
        assert!(
            repairs
                .iter()
                .any(|(what, times)| what.contains(words) && *times == count),
            "{words}: {repairs:?}"
        );
    }

    // Another run goes on with the list.
    drop(running);
    sandbox.must("run", &["--once"]);
    assert_eq!(told(&sandbox), repairs);
    let text = sandbox.must("status", &[]);
    assert!(
        text.contains("REPAIRED") && text.contains("pins had been removed"),
        "{text}"
    );
}

#[test]
fn a_namespace_that_goes_away_ends_the_run_that_looks_after_it_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let mut running = sandbox.run();

    sandbox.ip_netns("del");

    let mut ended = None;
    sandbox.eventually("it ends", |_| {
        ended = running.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    for directory in ["run", "bpf/vrfgate"] {
        let left = fs::read_dir(sandbox.path(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory}");
    }
    sandbox.ip_netns("add");
}

#[test]
fn a_namespace_that_loses_its_name_and_lives_on_keeps_its_gate() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let mut running = sandbox.run();
    let netns = sandbox.netns();
    let pin = sandbox.link_pin();
    let inhabitant = Command::new("ip")
        .args(["netns", "exec", &sandbox.name, "sleep", "infinity"])
        .spawn();
    let inhabitant = Running(inhabitant.unwrap());
    sandbox.eventually("somebody moves in", |_| {
        let path = format!("/proc/{}/ns/net", inhabitant.0.id());
        fs::metadata(path).is_ok_and(|place| place.ino() == u64::from(netns.id().0))
    });

    sandbox.ip_netns("del");

    sandbox.eventually("it ends", |_| running.0.try_wait().unwrap().is_some());
    assert!(pin.exists());
    assert_eq!(sk_lookup_programs(&netns).unwrap().len(), 2);
    sandbox.ip_netns("add");
}

#[test]
fn clear_collects_what_a_gate_of_a_namespace_that_is_gone_has_left() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    let pin = sandbox.link_pin();
    sandbox.ip_netns("del");
    sandbox.ip_netns("add");
    assert!(pin.exists());
    sandbox.eventually("the leftovers are gone", |sandbox| {
        sandbox.must("clear", &[]);
        !pin.exists()
    });
    assert_eq!(fs::read_dir(sandbox.path("run")).unwrap().count(), 0);
}

#[test]
fn a_gate_whose_link_is_gone_is_put_in_again_by_the_next_run() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    fs::remove_file(sandbox.link_pin()).unwrap();
    sandbox.must("run", &["--once"]);
    assert_eq!(sk_lookup_programs(&sandbox.netns()).unwrap().len(), 2);
    assert_eq!(sandbox.sysctls(), (Some(true), Some(false)));
}

#[test]
fn clear_gives_back_the_former_sysctls_and_leaves_nothing_even_of_a_gate_not_in_force() {
    for broken in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.set_sysctls(false, true);
        sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
        sandbox.must("run", &["--once"]);
        assert_eq!(sandbox.sysctls(), (Some(true), Some(true)));
        if broken {
            fs::remove_file(sandbox.link_pin()).unwrap();
        }
        sandbox.must("clear", &[]);
        assert_eq!(sandbox.sysctls(), (Some(false), Some(true)), "{broken}");
        assert!(sk_lookup_programs(&sandbox.netns()).unwrap().is_empty());
        for directory in ["run", "bpf/vrfgate"] {
            let left = fs::read_dir(sandbox.path(directory)).unwrap().count();
            assert_eq!(left, 0, "{directory}, {broken}");
        }
    }
}

#[test]
fn status_tells_the_sysctls_of_now_from_the_former_ones() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctls(false, true);
    assert!(sandbox.must("status", &[]).contains("there is no gate"));
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    let text = sandbox.must("status", &[]);
    assert!(
        text.contains("tcp_l3mdev_accept 1 (was 0), udp_l3mdev_accept 1 (was 1)"),
        "{text}"
    );
    assert!(text.contains("waits for VRF BLUE to be created"), "{text}");
}

#[test]
fn doctor_fails_and_names_the_cure_when_something_is_missing() {
    let sandbox = Sandbox::new();
    assert!(sandbox.must("doctor", &[]).contains("there is no gate yet"));
    umount2(&sandbox.path("bpf"), MntFlags::empty()).unwrap();
    let output = sandbox.command("doctor").output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("MISSING  no BPF file system"), "{text}");
}

#[test]
fn bits_that_no_mark_can_be_made_of_are_refused_by_the_name_of_the_flag() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    for (mask, complaint) in [
        ("0x5", "has gaps"),
        ("0", "without bits"),
        ("all", "not a mask"),
    ] {
        let output = sandbox
            .command("run")
            .args(["--once", "--steer-mask", mask])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("--steer-mask") && said.contains(complaint),
            "{said}"
        );
    }
    assert_eq!(sandbox.sysctls(), (Some(false), Some(false)));
}

#[test]
fn leaks_and_facts_arrive_at_the_gate_as_they_were_written() {
    let sandbox = Sandbox::new();
    let text = "
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: blue}
spec:
  vrf: BLUE
  services:
    - {name: web, protocol: TCP, port: 8000, endPort: 8080, addresses: [192.0.2.1/32], sources: [10.0.0.0/8]}
---
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: red}
spec:
  vrf: RED
  mode: Audit
  services:
    - {name: dns, protocol: UDP, port: 53, addresses: [192.0.2.1/32]}
";
    let leaks = read_leaks("text", text).unwrap();
    let vrf = |ifindex: u32, name: &str| Link {
        ifindex,
        name: name.into(),
        kind: LinkKind::Vrf { table: ifindex },
        master: None,
    };
    let lan = Link {
        kind: LinkKind::Other,
        ..vrf(2, "lan")
    };
    let facts = NodeFacts {
        links: vec![lan, vrf(7, "BLUE"), vrf(8, "RED"), vrf(9, "OTHER")],
        addresses: vec![LocalAddress {
            ifindex: 2,
            address: "192.0.2.1".parse().unwrap(),
        }],
        prefixes: Vec::new(),
    };
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    assert!(engine.reconcile(&leaks, &facts).unwrap().attached);
    assert!(!engine.reconcile(&leaks, &facts).unwrap().attached);

    let status = Gate::inspect(&sandbox.store(), &sandbox.netns()).unwrap();
    let vrfs = status.unwrap().vrfs;
    let modes: Vec<_> = vrfs
        .iter()
        .map(|vrf| (vrf.ifindex, vrf.name.as_str(), vrf.mode))
        .collect();
    assert_eq!(
        modes,
        [
            (7, "BLUE", Mode::Enforce),
            (8, "RED", Mode::Audit),
            (9, "OTHER", Mode::AsBefore)
        ]
    );
    let web = &vrfs[0].rules[0].rule;
    assert_eq!(
        (web.name.as_str(), &web.ports),
        ("blue/web", &(8000..=8080))
    );
    assert_eq!(web.sources, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(vrfs[1].rules[0].rule.ports, 53..=53);
    assert!(vrfs[2].rules.is_empty());
}

#[test]
fn one_mistake_in_one_file_and_no_leak_is_read() {
    let directory = TempDir::new().unwrap();
    let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
    let files = LeakFiles::new(vec![directory.path().to_owned()]);
    write("b.yaml", &leak("blue", "BLUE", 22));
    write("a.yml", &leak("red", "RED", 22));
    write("notes.txt", "kind: [");
    write("b.yaml~", "kind: [");
    let names: Vec<String> = files
        .read()
        .unwrap()
        .iter()
        .map(|leak| leak.name.to_string())
        .collect();
    assert_eq!(names, ["red", "blue"], "in the order of the files' names");

    write("c.json", "kind: [");
    let errors = files.read().unwrap_err();
    assert!(errors[0].contains("c.json"), "{errors:?}");
    write("c.json", &leak("blue", "GREEN", 22));
    assert!(
        !files.read().unwrap_err().is_empty(),
        "two leaks of one name"
    );
}

#[test]
fn of_a_file_its_directory_is_watched_because_editors_replace_files() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("leak.yaml");
    fs::write(&file, "").unwrap();
    let files = LeakFiles::new(vec![file, directory.path().to_owned(), "here.yaml".into()]);
    assert_eq!(
        files.directories(),
        [directory.path(), Path::new(".")].map(Path::to_owned)
    );
}

#[tokio::test]
async fn facts_hold_our_end_of_a_link_its_master_and_where_the_local_table_is_looked_up() {
    let sandbox = Sandbox::new();
    sandbox.ip("link add br0 type bridge");
    sandbox.ip("link add lan type veth peer name far");
    sandbox.ip("link set lan master br0");
    sandbox.ip("address add 192.0.2.1 peer 192.0.2.2/32 dev lan");
    let watcher = Watcher::new(&sandbox.netns()).unwrap();
    let facts = watcher.facts().await.unwrap();
    let of = |name: &str| facts.links.iter().find(|link| link.name == name).unwrap();
    assert_eq!(of("lan").master, Some(of("br0").ifindex));
    assert_eq!(of("br0").master, None);
    let ipv4: Vec<_> = facts
        .addresses
        .iter()
        .filter(|local| local.ifindex == of("lan").ifindex && local.address.is_ipv4())
        .map(|local| local.address.to_string())
        .collect();
    assert_eq!(ipv4, ["192.0.2.1"], "ours, not the peer's");

    assert_eq!(watcher.local_rule_preference().await.unwrap(), Some(0));
    sandbox.ip("rule add preference 32765 lookup local");
    assert_eq!(watcher.local_rule_preference().await.unwrap(), Some(0));
    sandbox.ip("rule delete preference 0");
    assert_eq!(watcher.local_rule_preference().await.unwrap(), Some(32765));
}

#[tokio::test]
async fn every_new_device_and_address_is_a_change_and_nothing_else_is() {
    let sandbox = Sandbox::new();
    sandbox.ip("link add lan type veth peer name far");
    let mut watcher = Watcher::new(&sandbox.netns()).unwrap();
    let soon = Duration::from_secs(5);
    for change in [
        "address add 192.0.2.1/24 dev lan",
        "address add 2001:db8::1/64 dev lan nodad",
        "link add BLUE type veth peer name green",
        "link delete BLUE",
    ] {
        sandbox.ip(change);
        let seen = tokio::time::timeout(soon, watcher.changed()).await;
        assert!(matches!(seen, Ok(Some(_))), "{change}: {seen:?}");
        while tokio::time::timeout(Duration::from_millis(200), watcher.changed())
            .await
            .is_ok()
        {}
    }
}
