//! The commands beside `run`, and arguments that are refused.

use std::{fs, process::Command};

use nix::mount::{MntFlags, umount2};
use vrfgate_ebpf::{kernel_is_concerned, sk_lookup_programs};
use vrfgate_sandbox::{Started, soon};

use crate::sandbox::{Sandbox, leak};

#[test]
fn clear_collects_what_a_gate_of_a_namespace_that_is_gone_has_left() {
    let mut sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    let pin = sandbox.link_pin();
    sandbox.lose_netns();
    sandbox.make_netns();
    assert!(pin.exists());
    soon("the leftovers are gone", || {
        sandbox.must("clear", &[]);
        !pin.exists()
    });
    assert_eq!(fs::read_dir(sandbox.path("run")).unwrap().count(), 0);
}

#[test]
fn clear_gives_back_the_former_sysctls_and_leaves_nothing_even_of_a_gate_not_in_force() {
    for broken in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.set_sysctls([false, true]);
        sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
        sandbox.must("run", &["--once"]);
        assert_eq!(sandbox.sysctls(), [true, true]);
        if broken {
            fs::remove_file(sandbox.link_pin()).unwrap();
        }
        sandbox.must("clear", &[]);
        assert_eq!(sandbox.sysctls(), [false, true], "{broken}");
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
    sandbox.set_sysctls([false, true]);
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
fn status_tells_of_the_gate_also_where_the_report_beside_it_is_none() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    let files = fs::read_dir(sandbox.path("run")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let report = files.find(|path| path.to_string_lossy().ends_with(".report.json"));
    let report = report.unwrap();
    fs::write(&report, "{").unwrap();
    let said = sandbox.must("status", &[]);
    assert!(said.contains("the gate is in force"), "{said}");
    assert!(said.contains(&report.display().to_string()), "{said}");
}

#[test]
fn doctor_fails_and_names_the_cure_when_something_is_missing() {
    let sandbox = Sandbox::new();
    let said = sandbox.must("doctor", &[]);
    assert!(said.contains("there is no gate yet"), "{said}");
    // A kernel that may crash of shared ports says so also while none is shared; others have nothing to say.
    let of_ports = said.contains("ok       no TCP port is shared");
    assert_eq!(of_ports, kernel_is_concerned(), "{said}");
    umount2(&sandbox.path("bpf"), MntFlags::empty()).unwrap();
    let output = sandbox.command("doctor").finished().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("MISSING  no BPF file system"), "{text}");
}

/// Enterprise kernels have an old name and new parts: `uname -r` says 2.6 here.
#[test]
fn a_kernel_is_judged_by_what_it_can_and_not_by_its_name() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let named_2_6 = |command| must_by(&["setarch", "--uname-2.6"], &sandbox, command);
    let said = named_2_6("doctor");
    assert!(said.contains("ok       kernel 2.6."), "{said}");
    named_2_6("run");
    assert!(sandbox.link_pin().exists());
}

#[test]
fn without_types_of_the_kernel_the_gate_works_and_doctor_says_beforehand_what_that_costs() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let hide = "mount -t tmpfs none /sys/kernel && exec \"$@\"";
    let hidden = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    let without_types = |command| must_by(&hidden, &sandbox, command);
    let told = "note     the kernel's types can't be read at /sys/kernel/btf/vmlinux";
    let said = without_types("doctor");
    assert!(
        said.contains(told) && said.contains("looked for at intervals"),
        "{said}"
    );
    let has_types = fs::File::open("/sys/kernel/btf/vmlinux").is_ok();
    let said = sandbox.must("doctor", &[]);
    assert_eq!(said.contains(told), !has_types, "{said}");

    without_types("run");
    assert!(sandbox.link_pin().exists());
}

/// What a command says that another one starts; `run` ends with the gate in force.
fn must_by(starter: &[&str], sandbox: &Sandbox, command: &str) -> String {
    let program = sandbox.command(command);
    let mut line = Command::new(starter[0]);
    line.args(&starter[1..])
        .arg(program.get_program())
        .args(program.get_args());
    if command == "run" {
        line.arg("--once");
    }
    let output = line.finished().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}{errors}");
    said
}

#[test]
fn doctor_says_what_leaks_would_do_and_fails_for_their_mistakes_alone() {
    let sandbox = Sandbox::new();
    let before = sandbox.sysctls();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let doctor = || {
        let mut doctor = sandbox.command("doctor");
        let output = doctor
            .arg("-f")
            .arg(sandbox.path("leaks"))
            .finished()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    };
    let (success, said) = doctor();
    assert!(
        success && said.contains("note     leak blue waits for VRF BLUE to be created"),
        "{said}"
    );

    sandbox.write_leaks(
        "red.yaml",
        &leak("red", "RED", 22).replace("port: 22", "port: 70000"),
    );
    let (success, said) = doctor();
    assert!(!success && said.contains("MISTAKE  "), "{said}");
    assert!(
        said.contains("red.yaml:") && said.contains("port: 70000 is not a port"),
        "{said}"
    );
    assert!(said.contains("there is no gate yet"), "{said}");
    assert_eq!(sandbox.sysctls(), before);
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
            .finished()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("--steer-mask") && said.contains(complaint),
            "{said}"
        );
    }
    assert_eq!(sandbox.sysctls(), [false, false]);
}

#[test]
fn where_the_sysctls_cannot_be_written_as_in_containers_they_are_elsewhere() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let elsewhere = sandbox.path("sysctls");
    fs::create_dir_all(elsewhere.join("net")).unwrap();
    let in_a_container = |arguments: &[&str]| {
        let run = sandbox.command("run");
        // As a container runtime mounts them for a pod with this hostPath.
        let mounts = format!(
            "mount --bind /proc/sys/net {0}/net && mount --bind /proc/sys /proc/sys && \
             mount -o remount,bind,ro /proc/sys && exec \"$@\"",
            elsewhere.display()
        );
        std::process::Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", &mounts, "sh"])
            .arg(run.get_program())
            .args(run.get_args())
            .arg("--once")
            .args(arguments)
            .finished()
            .unwrap()
    };
    let refused = in_a_container(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(sandbox.sysctls(), [false, false]);

    let done = in_a_container(&["--sysctls", &elsewhere.to_string_lossy()]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    // A leak without UDP services leaves that switch alone.
    assert_eq!(sandbox.sysctls(), [true, false]);
}

#[test]
fn manual_pages_and_completions_know_every_command() {
    let sandbox = Sandbox::new();
    let vrfgate = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vrfgate"));
        let output = command.args(arguments).finished().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pages = sandbox.path("man");
    vrfgate(&["man", "--dir", &pages.to_string_lossy()]);
    // Hyphens are written so that nobody takes them for those of words that are broken.
    let overview = vrfgate(&["man"]).replace("\\-", "-");
    let bash = vrfgate(&["completions", "bash"]);
    for command in [
        "run",
        "status",
        "clear",
        "doctor",
        "explain",
        "monitor",
        "agent",
        "install-cni",
        "uninstall-cni",
        "withdraw",
        "check-nodes",
    ] {
        let page = fs::read_to_string(pages.join(format!("vrfgate-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{page}");
        assert!(
            overview.contains(command) && bash.contains(command),
            "{command}"
        );
    }
}
