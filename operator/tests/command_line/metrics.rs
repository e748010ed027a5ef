//! What a running `vrfgate` serves over HTTP.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Stdio,
};
use vrfgate_sandbox::{ReallyClosed, Started, soon};

use crate::sandbox::{Running, Sandbox, leak};

pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Nobody listens there yet.
pub fn free_address() -> SocketAddr {
    let _closed = ReallyClosed;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap()
}

#[test]
fn run_serves_metrics_and_is_ready_while_what_was_asked_for_is_in_force() {
    let sandbox = Sandbox::new();
    sandbox.write_leaks("blue.yaml", &leak("blue", "BLUE", 22));
    let address = free_address();
    let mut command = sandbox.command("run");
    command.args(["--metrics-addr", &address.to_string()]);
    let _running = Running(command.stderr(Stdio::null()).started().unwrap());
    soon("it is ready", || {
        get(address, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
    });

    let metrics = get(address, "/metrics").unwrap();
    for line in [
        "vrfgate_gate_in_force 1",
        "vrfgate_leaks{state=\"waiting\"} 1",
        "vrfgate_repairs_total 0",
    ] {
        assert!(
            metrics.contains(&format!("\n{line}\n")),
            "{line}: {metrics}"
        );
    }

    sandbox.set_sysctls([false, false]);
    soon("the repair counts", || {
        get(address, "/metrics").is_some_and(|text| text.contains("vrfgate_repairs_total 1\n"))
    });
    sandbox.write_leaks("blue.yaml", "kind: [");
    soon("a mistake makes it unready, and is told", || {
        get(address, "/readyz").is_some_and(|answer| {
            answer.starts_with("HTTP/1.0 503") && answer.contains("blue.yaml")
        })
    });
    assert!(
        get(address, "/healthz")
            .unwrap()
            .starts_with("HTTP/1.0 200")
    );
}
