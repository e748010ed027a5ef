//! Real packets through the gate on the running kernel. `lo` stands in for the VRF device: the program sees
//! its ifindex as it would see a VRF's, so every step but the kernel's own VRF handling is the real one.

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use common::{Sandbox, from_sources, rule, vrf};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
    RuleSet,
};

/// Ifindex of `lo`, in every namespace (`LOOPBACK_IFINDEX` of the kernel's `net/net_namespace.h`).
const LO: u32 = 1;

fn connect(sandbox: &Sandbox, to: SocketAddr) -> std::io::Result<TcpStream> {
    let timeout = Duration::from_secs(5);
    sandbox
        .netns()
        .run(|| TcpStream::connect_timeout(&to, timeout))
        .unwrap()
}

fn listen(sandbox: &Sandbox, on: &str) -> TcpListener {
    sandbox
        .netns()
        .run(|| TcpListener::bind(on).unwrap())
        .unwrap()
}

#[test]
fn a_listed_listener_is_reached_and_its_neighbour_looks_like_a_closed_port() {
    let sandbox = Sandbox::new();
    let listed = listen(&sandbox, "[::]:7022");
    let unlisted = listen(&sandbox, "[::]:7080");
    let _gate = sandbox.attach(&vrf(
        LO,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 7022..=7022, &["127.0.0.1", "::1"])],
    ));
    for host in ["127.0.0.1", "[::1]"] {
        connect(&sandbox, format!("{host}:7022").parse().unwrap()).unwrap();
        listed.accept().unwrap();
        let refused = connect(&sandbox, format!("{host}:7080").parse().unwrap());
        assert_eq!(
            refused.unwrap_err().kind(),
            ErrorKind::ConnectionRefused,
            "{host}"
        );
    }
    drop(unlisted);
}

#[test]
fn a_namespace_with_a_gate_and_no_vrf_works_as_without() {
    let sandbox = Sandbox::new();
    let listener = listen(&sandbox, "127.0.0.1:7001");
    let gate = sandbox.attach(&RuleSet::default());
    connect(&sandbox, "127.0.0.1:7001".parse().unwrap()).unwrap();
    listener.accept().unwrap();
    gate.detach().unwrap();
}

#[test]
fn an_established_connection_survives_every_change_of_rules_and_the_end_of_the_gate() {
    let sandbox = Sandbox::new();
    let listener = listen(&sandbox, "127.0.0.1:7022");
    let open = vrf(
        LO,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 7022..=7022, &["127.0.0.1"])],
    );
    let mut gate = sandbox.attach(&open);
    let mut client = connect(&sandbox, "127.0.0.1:7022".parse().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut talk = |when: &str| {
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        server
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{when}: {error}"));
    };

    talk("with the rule");
    gate.apply(vrf(LO, Posture::Enforced, vec![])).unwrap();
    talk("without the rule");
    drop(gate);
    talk("without a process that holds the gate");
    sandbox.open().unwrap().unwrap().detach().unwrap();
    talk("without the gate");
}

#[test]
fn an_unlisted_datagram_gets_an_icmp_error_and_a_listed_one_an_answer() {
    let sandbox = Sandbox::new();
    let netns = sandbox.netns();
    let server = netns
        .run(|| UdpSocket::bind("127.0.0.1:7053").unwrap())
        .unwrap();
    let client = netns
        .run(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    // Connected on one side only: the answer to a connected client never runs the gate.
    client.connect("127.0.0.1:7053").unwrap();
    let mut gate = sandbox.attach(&vrf(LO, Posture::Enforced, vec![]));

    client.send(b"question").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(
        client.recv(&mut buffer).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );

    gate.apply(vrf(
        LO,
        Posture::Enforced,
        vec![rule("dns", Udp, 7053..=7053, &["127.0.0.1"])],
    ))
    .unwrap();
    client.send(b"question").unwrap();
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
}

#[test]
fn the_vrf_of_an_event_is_the_device_the_packet_came_through() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&vrf(
        LO,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 7022..=7022, &["127.0.0.1"])],
    ));
    connect(&sandbox, "127.0.0.1:7080".parse().unwrap()).unwrap_err();
    let events: Vec<_> = gate.events().unwrap().collect();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].vrf, events[0].local_port), (LO, 7080));
}

/// A rule for the client's address and for hundreds of others, which make a change of rules last long enough
/// to be met.
fn wide(name: &str, port: u16, end: u16, source: &str) -> RuleSet {
    let mut addresses: Vec<String> = (0..1000)
        .map(|n| format!("10.9.{}.{}", n / 250, n % 250))
        .collect();
    addresses.push("127.0.0.1".into());
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let rule = from_sources(rule(name, Tcp, port..=end, &addresses), &[source]);
    vrf(LO, Posture::Enforced, vec![rule])
}

/// Connects to port 7022 again and again while `change` goes on. Says how often it got in and how often not.
fn connect_during(sandbox: &Sandbox, change: impl FnOnce()) -> (usize, usize) {
    let listener = listen(sandbox, "127.0.0.1:7022");
    let changing = AtomicBool::new(true);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let connect = || {
                let (mut passed, mut refused) = (0, 0);
                while changing.load(Ordering::Relaxed) {
                    if TcpStream::connect("127.0.0.1:7022").is_ok() {
                        listener.accept().unwrap();
                        passed += 1;
                    } else {
                        refused += 1;
                    }
                }
                (passed, refused)
            };
            sandbox.netns().run(connect).unwrap()
        });
        // Dropped on a panic too, so that the client ends.
        let stop = Stop(&changing);
        change();
        drop(stop);
        client.join().unwrap()
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_old_and_new_rules_allow_is_let_in_while_they_change() {
    let sandbox = Sandbox::new();
    let sets = [
        wide("one", 7022, 7022, "127.0.0.0/8"),
        wide("two", 7022, 7022, "127.0.0.1/32"),
        wide("three", 7022, 7023, "127.0.0.0/24"),
    ];
    let mut gate = sandbox.attach(&sets[0]);
    let (passed, refused) = connect_during(&sandbox, || {
        for set in sets.iter().cycle().take(45) {
            gate.apply(set.clone()).unwrap();
        }
    });
    assert_eq!(refused, 0, "of {passed} connections");
    assert!(passed > 100, "only {passed}: the changes were hardly met");
}

#[test]
fn a_client_that_neither_old_nor_new_rules_allow_is_refused_while_they_change() {
    let sandbox = Sandbox::new();
    let others = wide("one", 7022, 7022, "10.0.0.0/8");
    let elsewhere = wide("two", 7023, 7023, "127.0.0.0/8");
    let mut gate = Some(sandbox.attach(&others));
    let (passed, refused) = connect_during(&sandbox, || {
        for lose_record in [false, true].into_iter().cycle().take(20) {
            for set in [&elsewhere, &others] {
                if lose_record {
                    gate = None;
                    for entry in std::fs::read_dir(sandbox.run_dir()).unwrap() {
                        std::fs::remove_file(entry.unwrap().path()).unwrap();
                    }
                }
                let held = gate.take();
                let mut held = held.unwrap_or_else(|| sandbox.open().unwrap().unwrap());
                held.apply(set.clone()).unwrap();
                gate = Some(held);
            }
        }
    });
    assert_eq!(passed, 0, "of {refused} connections");
    assert!(refused > 100, "only {refused}: the changes were hardly met");
}
