//! An IPv4 packet that this host sends to itself inside a VRF shows the program a slave. It is decided as one that shows
//! the VRF. Test runs show interface number 0, so that is the slave here; `lo` stands in for one where packets are real.

mod common;

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use common::{Sandbox, from_sources, packet, rule, vrfs};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
    RuleSet,
};
use vrfgate_ebpf::{Changes, Gate, Hits};

/// The ifindex that the kernel has for the packet of a test run.
const SLAVE: u32 = 0;
/// Ifindex of `lo` in every namespace.
const LO: u32 = 1;
const BLUE: u32 = 77;
const RED: u32 = 78;
const PASS: u32 = 1;
const DROP: u32 = 0;

/// BLUE opens TCP port 22 and RED opens TCP port 80, each to some clients.
fn two_vrfs(posture: Posture, slaves: &[(u32, u32)]) -> RuleSet {
    let listed = |name, port| {
        from_sources(
            rule(name, Tcp, port..=port, &["192.0.2.1", "2001:db8::1"]),
            &["10.0.0.0/24", "2001:db8:a::/64"],
        )
    };
    vrfs(
        [
            (BLUE, "BLUE", posture, vec![listed("ssh", 22)]),
            (RED, "RED", posture, vec![listed("web", 80)]),
        ],
        slaves,
    )
}

fn verdict(gate: &Gate, to: &str, from: &str) -> u32 {
    let packet = packet(Tcp, to.parse().unwrap(), from.parse().unwrap());
    gate.test_run(&packet, 1).unwrap().verdict
}

/// Which of ports 22 and 80 a local client gets through to.
fn open_ports(gate: &Gate) -> Vec<u16> {
    let from = "10.0.0.1:40000";
    let open = |port: &u16| verdict(gate, &format!("192.0.2.1:{port}"), from) == PASS;
    [22, 80].into_iter().filter(open).collect()
}

#[test]
fn an_ipv4_packet_that_shows_a_slave_is_decided_as_one_of_its_vrf() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&two_vrfs(Posture::Enforced, &[(SLAVE, BLUE)]));
    for (to, from, expected) in [
        ("192.0.2.1:22", "10.0.0.1:40000", PASS),
        ("192.0.2.1:22", "10.0.9.1:40000", DROP),
        ("192.0.2.1:80", "10.0.0.1:40000", DROP),
        ("10.0.0.1:22", "10.0.0.1:40000", DROP),
    ] {
        assert_eq!(verdict(&gate, to, from), expected, "{from} to {to}");
    }
    let udp = packet(
        Udp,
        "192.0.2.1:22".parse().unwrap(),
        "10.0.0.1:40000".parse().unwrap(),
    );
    assert_eq!(gate.test_run(&udp, 1).unwrap().verdict, DROP);

    let status = gate.status().unwrap();
    let [blue, red] = status.vrfs.as_slice() else {
        panic!("a slave is no VRF: {status:?}");
    };
    assert_eq!((&blue.slaves, &red.slaves), (&vec![SLAVE], &vec![]));
    assert_eq!(
        blue.hits.refused, 4,
        "a slave's refusals are those of its VRF"
    );
    assert_eq!(blue.rules[0].hits.passed, 1);
    assert_eq!(red.hits, Hits::default());
    let vrfs: Vec<u32> = gate.events().unwrap().map(|event| event.vrf).collect();
    assert_eq!(vrfs, [BLUE; 4]);
}

/// Its destination is a link-local address of this host, and the kernel itself has it pass by the VRF.
#[test]
fn an_ipv6_packet_that_shows_a_slave_did_not_come_through_the_vrf() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&two_vrfs(Posture::Enforced, &[(SLAVE, BLUE)]));
    assert_eq!(
        verdict(&gate, "[fe80::1]:80", "[fe80::1]:40000"),
        PASS,
        "{:?}",
        gate.status().unwrap()
    );
    assert_eq!(gate.events().unwrap().count(), 0);
}

#[test]
fn an_audited_vrf_audits_what_comes_through_its_slaves() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&two_vrfs(Posture::Audited, &[(SLAVE, RED)]));
    assert_eq!(verdict(&gate, "192.0.2.1:22", "10.0.0.1:40000"), PASS);
    assert_eq!(gate.status().unwrap().vrfs[1].hits.would_refuse, 1);
}

#[test]
fn a_slave_of_a_vrf_that_is_as_before_is_as_before() {
    for was_open in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.set_sysctl("tcp", was_open);
        let gate = sandbox.attach(&two_vrfs(Posture::AsBefore, &[(SLAVE, RED)]));
        let expected = if was_open { PASS } else { DROP };
        assert_eq!(verdict(&gate, "192.0.2.1:22", "10.0.0.1:40000"), expected);
    }
}

#[test]
fn enslaving_moving_and_releasing_are_followed() {
    let sandbox = Sandbox::new();
    let set = |slaves| two_vrfs(Posture::Enforced, slaves);
    let mut gate = sandbox.attach(&set(&[]));
    let in_blue = [(SLAVE, BLUE), (5, BLUE)];
    let in_red = [(SLAVE, RED), (6, BLUE)];
    // Edits of a few entries by who knows what is there, and by who has to read it first.
    for reopen in [false, true] {
        for (slaves, open) in [
            (in_blue.as_slice(), [22].as_slice()),
            (&in_red, &[80]),
            (&[], &[22, 80]),
            (&in_red, &[80]),
            (&in_blue, &[22]),
            (&[(5, BLUE)], &[22, 80]),
        ] {
            if reopen {
                drop(gate);
                gate = sandbox.open().unwrap().unwrap();
            }
            let changes = gate.apply(set(slaves)).unwrap();
            assert_ne!(changes, Changes::default());
            assert_eq!(open_ports(&gate), open, "{slaves:?}");
            assert_eq!(gate.apply(set(slaves)).unwrap(), Changes::default());
        }
        gate.apply(set(&[])).unwrap();
    }
    drop(gate);
    let mut reader = sandbox.open().unwrap().unwrap();
    assert_eq!(reader.apply(set(&[])).unwrap(), Changes::default());
}

/// Ifindexes that are equal modulo 65,536 share the bit that says whether to look further.
#[test]
fn a_slave_stays_closed_when_a_device_whose_ifindex_is_65536_higher_comes_and_goes() {
    let sandbox = Sandbox::new();
    let set = |slaves| two_vrfs(Posture::Enforced, slaves);
    let alone = [(SLAVE, BLUE)];
    let mut gate = sandbox.attach(&set(&alone));
    for slaves in [&[(SLAVE, BLUE), (1 << 16, RED)], alone.as_slice()] {
        gate.apply(set(slaves)).unwrap();
        assert_eq!(open_ports(&gate), [22], "{slaves:?}");
    }
    gate.apply(set(&[(1 << 16, RED)])).unwrap();
    assert_eq!(open_ports(&gate), [22, 80]);
}

#[test]
fn a_slave_of_a_vrf_that_is_not_gated_is_not_gated() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&two_vrfs(Posture::Enforced, &[(SLAVE, 99)]));
    assert_eq!(open_ports(&gate), [22, 80]);
    let both = two_vrfs(Posture::Enforced, &[(SLAVE, BLUE)]);
    gate.apply(both.clone()).unwrap();
    assert_eq!(open_ports(&gate), [22]);
    let mut without_blue = both.vrfs().clone();
    without_blue.remove(&BLUE);
    let without_blue = RuleSet::new(without_blue, both.slaves().clone());
    gate.apply(without_blue.unwrap()).unwrap();
    assert_eq!(open_ports(&gate), [22, 80]);
}

/// Every slave there may be, in the order that a large router would bring them: all at once, then one by one.
#[test]
fn thousands_of_slaves_are_gated_and_too_many_are_refused_with_what_was_in_force_in_force() {
    const MANY: u32 = 20_000;
    let sandbox = Sandbox::new();
    let all = |last: u32| -> RuleSet {
        let slaves: Vec<_> = (100..100 + last).map(|slave| (slave, BLUE)).collect();
        two_vrfs(
            Posture::Enforced,
            &[slaves.as_slice(), &[(SLAVE, RED)]].concat(),
        )
    };
    let mut gate = sandbox.attach(&all(MANY));
    assert_eq!(gate.status().unwrap().vrfs[0].slaves.len(), MANY as usize);
    let changes = gate.apply(all(MANY + 1)).unwrap();
    assert_eq!((changes.written, changes.removed), (1, 0));

    let refused = gate.apply(all(65_536)).unwrap_err().to_string();
    assert!(
        refused.contains("65537 devices are slaves of VRFs, and a gate can know 65536"),
        "{refused}"
    );
    assert_eq!(open_ports(&gate), [80]);
}

/// Real packets, for which `lo` is a slave.
#[test]
fn a_local_client_reaches_what_is_listed_for_the_vrf_and_nothing_else() {
    let sandbox = Sandbox::new();
    let listen = |on: &str| {
        let on: SocketAddr = on.parse().unwrap();
        sandbox.netns().run(|| TcpListener::bind(on)).unwrap()
    };
    let _listeners =
        ["127.0.0.1:7022", "127.0.0.1:7080", "[::1]:7080"].map(|on| listen(on).unwrap());
    let ssh = rule("ssh", Tcp, 7022..=7022, &["127.0.0.1"]);
    let set = |slaves: &[(u32, u32)]| {
        let blue = (BLUE, "BLUE", Posture::Enforced, vec![ssh.clone()]);
        vrfs([blue], slaves)
    };
    let mut gate = sandbox.attach(&set(&[]));
    let connect = |to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        let timeout = Duration::from_secs(5);
        let connected = sandbox
            .netns()
            .run(|| TcpStream::connect_timeout(&to, timeout));
        connected.unwrap().map(drop).map_err(|error| error.kind())
    };
    let refused = Err(ErrorKind::ConnectionRefused);
    for (slaves, unlisted) in [
        ([].as_slice(), Ok(())),
        (&[(LO, BLUE)], refused),
        (&[], Ok(())),
    ] {
        gate.apply(set(slaves)).unwrap();
        assert_eq!(connect("127.0.0.1:7022"), Ok(()), "{slaves:?}");
        assert_eq!(connect("127.0.0.1:7080"), unlisted, "{slaves:?}");
        assert_eq!(connect("[::1]:7080"), Ok(()), "{slaves:?}");
    }
}
