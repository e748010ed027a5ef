//! Sockets that are bound to their VRF pass the gate, however this kernel lets it learn of them. `lo` stands in
//! for a VRF device, or for a slave of one: the program sees its ifindex as it would see a VRF's.

mod common;

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use common::{Sandbox, packet, vrf, vrfs};
use socket2::{Domain, Socket, Type};
use vrfgate_core::{Posture, Protocol::Tcp, RuleSet};
use vrfgate_ebpf::{Capacity, Gate, LAYOUT, Tracing};

/// Ifindex of `lo` in every namespace.
const LO: u32 = 1;
/// The ifindex that the kernel has for the packet of a test run.
const TEST_RUN: u32 = 0;
const PASS: u32 = 1;
const DROP: u32 = 0;

fn listen(sandbox: &Sandbox, device: Option<&str>, on: &str) -> Socket {
    let address: SocketAddr = on.parse().unwrap();
    let listening = sandbox.netns().run(|| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind_device(device.map(str::as_bytes))?;
        socket.bind(&address.into())?;
        socket.listen(8)?;
        Ok(socket)
    });
    listening.unwrap().unwrap()
}

fn connect(sandbox: &Sandbox, to: &str) -> Result<(), ErrorKind> {
    let to: SocketAddr = to.parse().unwrap();
    sandbox
        .netns()
        .run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))
        .unwrap()
        .map(drop)
        .map_err(|error| error.kind())
}

/// A VRF whose packets are test runs, and `lo` is its only slave.
fn with_lo_as_slave() -> RuleSet {
    let blue = (TEST_RUN, "BLUE", Posture::Enforced, vec![]);
    vrfs([blue], &[(LO, TEST_RUN)])
}

fn verdict(gate: &Gate, to: &str) -> u32 {
    let from = if to.starts_with('[') {
        "[2001:db8::2]:40000"
    } else {
        "10.0.0.2:40000"
    };
    let packet = packet(Tcp, to.parse().unwrap(), from.parse().unwrap());
    gate.test_run(&packet, 1).unwrap().verdict
}

/// Where the kernel won't have tracing programs, the gate has to look.
fn look(gate: &mut Gate) {
    if *gate.tracing() != Tracing::On {
        gate.keep().unwrap();
    }
}

#[test]
fn a_bound_listener_that_was_there_before_the_gate_is_reached_and_an_unbound_one_is_not() {
    let sandbox = Sandbox::new();
    let _bound = listen(&sandbox, Some("lo"), "0.0.0.0:7179");
    let _unbound = listen(&sandbox, None, "0.0.0.0:7180");
    let _gate = sandbox.attach(&vrf(LO, Posture::Enforced, vec![]));
    assert_eq!(connect(&sandbox, "127.0.0.1:7179"), Ok(()));
    assert_eq!(
        connect(&sandbox, "127.0.0.1:7180"),
        Err(ErrorKind::ConnectionRefused)
    );
}

#[test]
fn a_bound_listener_that_comes_and_goes_is_followed() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&vrf(LO, Posture::Enforced, vec![]));
    let bound = [
        listen(&sandbox, Some("lo"), "[::]:7179"),
        listen(&sandbox, Some("lo"), "[::]:7179"),
    ];
    look(&mut gate);
    for to in ["127.0.0.1:7179", "[::1]:7179"] {
        assert_eq!(connect(&sandbox, to), Ok(()), "{to}");
    }
    let [one, other] = bound;
    drop(one);
    look(&mut gate);
    assert_eq!(connect(&sandbox, "127.0.0.1:7179"), Ok(()));
    drop(other);
    look(&mut gate);
    let _unbound = listen(&sandbox, None, "[::]:7179");
    for to in ["127.0.0.1:7179", "[::1]:7179"] {
        assert_eq!(
            connect(&sandbox, to),
            Err(ErrorKind::ConnectionRefused),
            "{to}"
        );
    }
}

#[test]
fn an_unbound_listener_on_the_address_takes_the_port_from_a_bound_wildcard() {
    let sandbox = Sandbox::new();
    let _bound = listen(&sandbox, Some("lo"), "0.0.0.0:7179");
    let unbound = listen(&sandbox, None, "127.0.0.1:7179");
    let mut gate = sandbox.attach(&vrf(LO, Posture::Enforced, vec![]));
    assert_eq!(
        connect(&sandbox, "127.0.0.1:7179"),
        Err(ErrorKind::ConnectionRefused)
    );
    drop(unbound);
    look(&mut gate);
    assert_eq!(connect(&sandbox, "127.0.0.1:7179"), Ok(()));
}

#[test]
fn a_listener_on_a_slave_counts_where_no_unbound_one_could_have_the_packet_instead() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&with_lo_as_slave());
    let _wildcard = listen(&sandbox, Some("lo"), "[::]:7179");
    let _address = listen(&sandbox, Some("lo"), "127.0.0.1:7180");
    look(&mut gate);
    assert_eq!(verdict(&gate, "192.0.2.1:7179"), PASS);
    assert_eq!(verdict(&gate, "[2001:db8::1]:7179"), PASS);
    assert_eq!(verdict(&gate, "127.0.0.1:7180"), PASS);
    assert_eq!(verdict(&gate, "192.0.2.1:7180"), DROP);

    let _unbound = [
        listen(&sandbox, None, "0.0.0.0:7179"),
        listen(&sandbox, None, "0.0.0.0:7180"),
    ];
    look(&mut gate);
    assert_eq!(verdict(&gate, "192.0.2.1:7179"), DROP);
    assert_eq!(verdict(&gate, "[2001:db8::1]:7179"), PASS);
    assert_eq!(verdict(&gate, "127.0.0.1:7180"), DROP);
}

#[test]
fn a_listener_follows_its_device_into_a_vrf_and_out_of_it() {
    let sandbox = Sandbox::new();
    let _listener = listen(&sandbox, Some("lo"), "0.0.0.0:7179");
    let no_slave = vrf(TEST_RUN, Posture::Enforced, vec![]);
    let mut gate = sandbox.attach(&no_slave);
    assert_eq!(verdict(&gate, "192.0.2.1:7179"), DROP);
    gate.apply(with_lo_as_slave()).unwrap();
    assert_eq!(verdict(&gate, "192.0.2.1:7179"), PASS);
    gate.apply(no_slave.clone()).unwrap();
    assert_eq!(verdict(&gate, "192.0.2.1:7179"), DROP);
}

#[test]
fn the_listeners_of_one_namespace_are_none_of_anothers() {
    let (one, other) = (Sandbox::new(), Sandbox::new());
    let _listener = listen(&one, Some("lo"), "0.0.0.0:7179");
    let rules = vrf(LO, Posture::Enforced, vec![]);
    // One store, and so one tracker, for both.
    let _gate = one.attach(&rules);
    let gate = Gate::attach(&one.store, other.netns(), &rules, &Capacity::default()).unwrap();
    let _unbound = listen(&other, None, "0.0.0.0:7179");
    assert_eq!(connect(&one, "127.0.0.1:7179"), Ok(()));
    assert_eq!(
        connect(&other, "127.0.0.1:7179"),
        Err(ErrorKind::ConnectionRefused)
    );

    gate.detach().unwrap();
    assert_eq!(connect(&one, "127.0.0.1:7179"), Ok(()));
}

#[test]
fn a_gate_whose_tracker_somebody_removed_gets_another_and_the_last_gate_takes_it_away() {
    let sandbox = Sandbox::new();
    let rules = vrf(LO, Posture::Enforced, vec![]);
    drop(sandbox.attach(&rules));
    let tracker = sandbox.pins().with_file_name(format!("tracker-v{LAYOUT}"));
    std::fs::remove_dir_all(&tracker).unwrap();

    let mut gate = sandbox.open().unwrap().unwrap();
    assert!(!gate.is_current().unwrap());
    gate.renew().unwrap();
    assert!(gate.is_current().unwrap());
    gate.apply(rules.clone()).unwrap();
    let _listener = listen(&sandbox, Some("lo"), "0.0.0.0:7179");
    look(&mut gate);
    assert_eq!(connect(&sandbox, "127.0.0.1:7179"), Ok(()));

    gate.detach().unwrap();
    let left: Vec<_> = std::fs::read_dir(tracker.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
