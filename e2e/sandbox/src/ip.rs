//! `ip(8)`, many commands at a time: starting a process is what costs most in an emulated machine.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

use crate::{Netns, Started};

/// Runs commands of ip(8) in a namespace, one a line and without the word `ip`.
pub fn batch(netns: &Netns, commands: &str) -> io::Result<()> {
    run(netns, &["-batch", "-"], commands).map(drop)
}

/// What one command of ip(8) prints.
pub fn query(netns: &Netns, command: &str) -> io::Result<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    run(netns, &words, "")
}

fn run(netns: &Netns, arguments: &[&str], input: &str) -> io::Result<String> {
    let output = netns.enter(|| {
        let mut child = Command::new("ip")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .started()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "ip {} in {}: {}\n{input}",
        arguments.join(" "),
        netns.name(),
        complaint.trim_end()
    )))
}
