//! `vrfgate explain` as a script meets it: exit codes, and what is no question. The lab shows the verdicts,
//! because they take a kernel with VRFs.

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn explain(vrf: &str, from: &str, to: &str, more: &[&str]) -> Output {
    // Reads, and finds no gate here.
    let nowhere = TempDir::new().unwrap();
    Command::new(env!("CARGO_BIN_EXE_vrfgate"))
        .args(["explain", "--vrf", vrf, "--from", from, "--to", to])
        .arg("--bpffs")
        .arg(nowhere.path())
        .arg("--run-dir")
        .arg(nowhere.path())
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn what_is_no_question_is_a_usage_error_that_shows_one() {
    for (vrf, from, to, words) in [
        ("BLUE", "10.0.0.2", "192.0.2.1:22", "192.0.2.1:22/tcp"),
        ("BLUE", "10.0.0.2", "192.0.2.1:22/icmp", "192.0.2.1:22/tcp"),
        (
            "BLUE",
            "10.0.0.2",
            "[2001:db8::1]:22/tcp",
            "one address family",
        ),
        ("BLUE", "10.0.0.0/8", "192.0.2.1:22/tcp", "--from"),
        ("BLUE/1", "10.0.0.2", "192.0.2.1:22/tcp", "--vrf"),
    ] {
        let output = explain(vrf, from, to, &[]);
        assert_eq!(output.status.code(), Some(2), "{vrf} {from} {to}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_question_that_cannot_be_answered_is_told_from_a_no() {
    let output = explain(
        "BLUE",
        "10.0.0.2",
        "192.0.2.1:22/tcp",
        &["--netns", "no-such-namespace"],
    );
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no-such-namespace"), "{said}");
}

#[test]
fn no_is_exit_code_1_and_ends_with_advice() {
    let output = explain("no-such-vrf", "10.0.0.2", "192.0.2.1:22/tcp", &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("there is no device no-such-vrf"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("advice: "), "{said}");

    let to = "[2001:db8::1]:53/udp";
    let output = explain("no-such-vrf", "2001:db8::2", to, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["verdict"], "NoSuchVrf");
    assert_eq!(said["served"], false);
    assert_eq!(said["packet"]["port"], 53);
    assert_eq!(said["packet"]["protocol"], "UDP");
}
