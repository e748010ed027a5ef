//! `vrfgate run`: what it follows, what it puts right, and how it ends.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use vrfgate_ebpf::sk_lookup_programs;
use vrfgate_operator::node::{Repair, Report};
use vrfgate_sandbox::{Started, soon};

use crate::sandbox::{Running, Sandbox, leak};

#[test]
fn a_running_vrfgate_follows_devices_and_files_and_says_so_in_its_report() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let _running = sandbox.run();
    soon("the leak waits for its VRF", || {
        let leaks = sandbox.report().leaks;
        leaks.len() == 1 && leaks[0].notes == ["waits for VRF BLUE to be created"]
    });
    sandbox.ip("link add BLUE type veth peer name green");
    soon("the new device is seen", || {
        sandbox.report().leaks[0].notes[0].ends_with("is no VRF")
    });

    sandbox.write_leaks("red.yaml", "kind: [");
    soon("the mistake is reported", || {
        sandbox
            .report()
            .errors
            .iter()
            .any(|error| error.contains("red.yaml"))
    });
    assert_eq!(sandbox.report().leaks.len(), 1, "the old leak is in force");
    sandbox.write_leaks("red.yaml", &leak("red", "RED", 22));
    soon("the mended file is read", || {
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
    soon("a new gate", || {
        !sk_lookup_programs(&sandbox.netns()).unwrap().is_empty()
            && sandbox.sysctls() == [true, false]
    });
    drop(running);
    sandbox.must("clear", &[]);
    assert_eq!(sandbox.sysctls(), [false, false]);
}

#[test]
fn what_something_else_did_and_what_was_done_about_it_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let running = sandbox.run();
    assert!(!sandbox.must("status", &[]).contains("REPAIRED"));

    for _ in 0..2 {
        sandbox.set_sysctls([false, false]);
        soon("the sysctl is set again", || {
            sandbox.sysctls() == [true, false]
        });
    }
    fs::remove_dir_all(sandbox.path("bpf/vrfgate")).unwrap();
    let told = |sandbox: &Sandbox| -> Vec<(String, u64)> {
        let repairs = sandbox.report().repairs;
        let entry = |repair: &Repair| (repair.what.clone(), repair.count);
        repairs.all().iter().map(entry).collect()
    };
    // The gate is renewed as well: its program asks the tracker, which has its pins there, too.
    soon("pins and tracker are there again", || {
        told(&sandbox).len() == 3
    });
    sandbox.detach_gate();
    soon("all is told", || told(&sandbox).len() == 4);
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
    let mut sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let mut running = sandbox.run();

    sandbox.lose_netns();

    let mut ended = None;
    soon("it ends", || {
        ended = running.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    for directory in ["run", "bpf/vrfgate"] {
        let left = fs::read_dir(sandbox.path(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory}");
    }
}

#[test]
fn a_namespace_that_loses_its_name_and_lives_on_keeps_its_gate() {
    let mut sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let mut running = sandbox.run();
    let netns = sandbox.netns();
    let pin = sandbox.link_pin();
    let inhabitant = Command::new("ip")
        .args(["netns", "exec", sandbox.name(), "sleep", "infinity"])
        .started();
    let inhabitant = Running(inhabitant.unwrap());
    soon("somebody moves in", || {
        let path = format!("/proc/{}/ns/net", inhabitant.0.id());
        fs::metadata(path).is_ok_and(|place| place.ino() == u64::from(netns.id().0))
    });

    sandbox.lose_netns();

    soon("it ends", || running.0.try_wait().unwrap().is_some());
    assert!(pin.exists());
    assert_eq!(sk_lookup_programs(&netns).unwrap().len(), 2);
}

#[test]
fn a_gate_whose_link_is_gone_is_put_in_again_by_the_next_run() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    sandbox.must("run", &["--once"]);
    fs::remove_file(sandbox.link_pin()).unwrap();
    sandbox.must("run", &["--once"]);
    assert_eq!(sk_lookup_programs(&sandbox.netns()).unwrap().len(), 2);
    assert_eq!(sandbox.sysctls(), [true, false]);
}
