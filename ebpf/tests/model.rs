//! The gate's program against core's decision: random rules, sockets and packets, by `BPF_PROG_TEST_RUN` on the running
//! kernel. The rules are made here and not by `compile`.
//!
//! A test run shows interface number 0. That is a VRF here, or a slave, or neither. `lo` has number 1, so that sockets
//! can be bound to it: it is a slave where number 0 is the VRF, and the VRF where number 0 is a slave. No VRF support is
//! needed.

mod common;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use common::{Sandbox, opening, packet};
use proptest::{collection::vec, prelude::*, sample::subsequence, test_runner::TestRunner};
use socket2::{Domain, Socket, Type};
use vrfgate_core::{
    Decision, InForce, OpenSocket, Opening, Packet, PassReason, Posture,
    Protocol::{self, Tcp, Udp},
    RefuseReason, Rule, RuleSet, Vrf,
};
use vrfgate_ebpf::{Gate, GateStatus, Hits, Tracing};

/// The ifindex that the kernel has for the packet of a test run.
const TEST_RUN: u32 = 0;
/// Ifindex of `lo` in every namespace.
const LO: u32 = 1;
/// That of a VRF that no packet comes through.
const ELSEWHERE: u32 = 77;

const LOCALS: [&str; 7] = [
    "192.0.2.1",
    "192.0.2.2",
    "127.0.0.1",
    "127.0.0.2",
    "2001:db8::1",
    "2001:db8::2",
    "::1",
];
/// Prefixes that are local as a whole.
const WHOLE: [&str; 5] = [
    "192.0.2.2/32",
    "192.0.2.0/24",
    "127.0.0.0/30",
    "2001:db8::/127",
    "::/0",
];
/// Addresses that a socket can be bound to where only `lo` is.
const ON_LO: [&str; 3] = ["127.0.0.1", "127.0.0.2", "::1"];
const REMOTES: [&str; 6] = [
    "10.0.0.2",
    "10.128.0.2",
    "203.0.113.9",
    "2001:db8:1::2",
    "2001:db8:ffff::2",
    "::2",
];
const SOURCES: [&str; 8] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/9",
    "10.0.0.0/8",
    "203.0.113.9/32",
    "2001:db8:1::/48",
    "2001:db8::/32",
    "::/96",
];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Few, so that sockets, rules and packets meet.
fn socket_port() -> impl Strategy<Value = u16> {
    7100..=7103_u16
}

/// Edges of powers of two, where blocks begin and end, more often than not.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        1..=u16::MAX,
        (0_u32..16, -1_i32..=1).prop_map(|(bit, step)| {
            u16::try_from((1_i32 << bit) + step).map_or(u16::MAX, |port| port.max(1))
        }),
        1..=16_u16,
        socket_port(),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Tcp), Just(Udp)]
}

fn any_opening() -> impl Strategy<Value = Opening> {
    let addresses = subsequence(LOCALS.to_vec(), 1..=3);
    let prefixes = prop_oneof![2 => Just(vec![]), 1 => subsequence(WHOLE.to_vec(), 1..=2)];
    (protocol(), port(), port(), addresses, prefixes).prop_map(
        |(protocol, a, b, addresses, prefixes)| Opening {
            prefixes: prefixes.iter().map(|net| net.parse().unwrap()).collect(),
            ..opening(protocol, a.min(b)..=a.max(b), &addresses)
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (
        vec(any_opening(), 1..=3),
        subsequence(SOURCES.to_vec(), 0..=2),
    )
        .prop_map(|(opens, sources)| Rule {
            name: String::new(),
            opens,
            sources: sources.iter().map(|net| net.parse().unwrap()).collect(),
        })
}

/// A VRF with up to eight rules that go together: what contradicts those before it is left out.
fn any_vrf(name: &'static str) -> impl Strategy<Value = Vrf> {
    let posture = prop_oneof![
        Just(Posture::Enforced),
        Just(Posture::Audited),
        Just(Posture::AsBefore)
    ];
    (posture, vec(any_rule(), 0..8)).prop_map(move |(posture, candidates)| {
        let mut vrf = Vrf {
            name: name.to_owned(),
            posture,
            rules: Vec::new(),
        };
        for candidate in candidates {
            let name = format!("rule {}", vrf.rules.len());
            vrf.rules.push(Rule { name, ..candidate });
            if RuleSet::new([(0, vrf.clone())].into(), BTreeMap::new()).is_err() {
                vrf.rules.pop();
            }
        }
        vrf
    })
}

fn any_rules() -> impl Strategy<Value = RuleSet> {
    // The VRF's number, and whose slaves there are.
    let shapes: [(u32, &[(u32, u32)]); 6] = [
        (TEST_RUN, &[(LO, TEST_RUN)]),
        (TEST_RUN, &[(LO, ELSEWHERE)]),
        (LO, &[(TEST_RUN, LO)]),
        (LO, &[(TEST_RUN, ELSEWHERE)]),
        (LO, &[]),
        // Not a VRF that is gated.
        (LO, &[(TEST_RUN, 99)]),
    ];
    (
        prop::sample::select(shapes.to_vec()),
        any_vrf("BLUE"),
        any_vrf("RED"),
    )
        .prop_map(|((blue, slaves), one, other)| {
            let vrfs = [(blue, one), (ELSEWHERE, other)];
            RuleSet::new(vrfs.into(), slaves.iter().copied().collect()).unwrap()
        })
}

/// A socket that is unbound or bound to `lo`.
fn any_socket() -> impl Strategy<Value = OpenSocket> {
    let on = prop_oneof![
        Just((IpAddr::V4(Ipv4Addr::UNSPECIFIED), false)),
        Just((IpAddr::V6(Ipv6Addr::UNSPECIFIED), false)),
        Just((IpAddr::V6(Ipv6Addr::UNSPECIFIED), true)),
        prop::sample::select(ON_LO.to_vec()).prop_map(|text| (address(text), false)),
    ];
    let device = prop_oneof![2 => Just(Some(LO)), 1 => Just(None)];
    (protocol(), socket_port(), on, device).prop_map(
        |(protocol, port, (address, dual_stack), device)| OpenSocket {
            protocol,
            address,
            port,
            device,
            dual_stack,
            peer: None,
            cookie: 0,
            inode: 0,
        },
    )
}

fn open(sandbox: &Sandbox, wanted: &OpenSocket) -> Socket {
    let on = SocketAddr::new(wanted.address, wanted.port);
    let kind = match wanted.protocol {
        Tcp => Type::STREAM,
        Udp => Type::DGRAM,
    };
    let opened = sandbox.netns().run(|| {
        let socket = Socket::new(Domain::for_address(on), kind, None)?;
        socket.set_reuse_port(true)?;
        if on.is_ipv6() {
            socket.set_only_v6(!wanted.dual_stack)?;
        }
        socket.bind_device(wanted.device.map(|_| b"lo".as_slice()))?;
        socket.bind(&on.into())?;
        if wanted.protocol == Tcp {
            socket.listen(8)?;
        }
        std::io::Result::Ok(socket)
    });
    let opened = opened.unwrap();
    opened.unwrap_or_else(|error| panic!("opening {wanted:?}: {error}"))
}

/// Ports worth asking for: those of the rules and their neighbours, those of sockets, and any other.
fn interesting_ports(rules: &RuleSet, sockets: &[OpenSocket], random: u16) -> Vec<u16> {
    let mut ports = vec![random];
    ports.extend(sockets.iter().map(|socket| socket.port));
    let rules = rules.vrfs().values().flat_map(|vrf| &vrf.rules);
    for opening in rules.flat_map(|rule| &rule.opens) {
        for edge in [opening.ports.first(), opening.ports.last()] {
            ports.extend([edge.saturating_sub(1), edge, edge.saturating_add(1)]);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Every packet to these ports.
fn packets(ports: &[u16]) -> impl Iterator<Item = Packet> {
    ports.iter().flat_map(|&local_port| {
        LOCALS.iter().flat_map(move |local| {
            let local = address(local);
            REMOTES
                .iter()
                .map(|remote| address(remote))
                .filter(move |remote| remote.is_ipv4() == local.is_ipv4())
                .flat_map(move |remote| {
                    [Tcp, Udp].map(|protocol| Packet {
                        ingress: TEST_RUN,
                        protocol,
                        local,
                        local_port,
                        remote,
                    })
                })
        })
    })
}

/// What the gate has counted, of VRFs by name and of their rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted(BTreeMap<(String, Option<String>), Hits>);

impl Counted {
    fn read(status: &GateStatus) -> Self {
        let mut counted = Self::default();
        for vrf in &status.vrfs {
            *counted.of(&vrf.name, None) = vrf.hits;
            for status in &vrf.rules {
                *counted.of(&vrf.name, Some(&status.rule)) = status.hits;
            }
        }
        counted
    }

    fn of(&mut self, vrf: &str, rule: Option<&Rule>) -> &mut Hits {
        let owner = (vrf.to_owned(), rule.map(|rule| rule.name.clone()));
        self.0.entry(owner).or_default()
    }

    /// Counts what the gate counts for a decision. Only BLUE is ever asked.
    fn add(&mut self, vrf: &str, decision: Decision<'_>) {
        let (reason, audited) = match decision {
            Decision::Pass(PassReason::Rule(rule)) => {
                self.of(vrf, Some(rule)).passed += 1;
                return;
            }
            Decision::Pass(
                PassReason::NotVrf | PassReason::AsBefore | PassReason::Listener { .. },
            ) => return,
            Decision::Pass(PassReason::Audit(reason)) => (reason, true),
            Decision::Refuse(reason) => (reason, false),
        };
        let mut count = |rule| {
            let Hits {
                passed: _,
                refused,
                would_refuse,
            } = self.of(vrf, rule);
            *(if audited { would_refuse } else { refused }) += 1;
        };
        count(None);
        if let RefuseReason::SourceNotAllowed(rule) = reason {
            count(Some(rule));
        }
    }
}

/// One round: rules in force, sockets open, and every packet decided as core decides it, and counted for its reason.
fn compare(
    sandbox: &Sandbox,
    gate: &mut Gate,
    in_force: InForce<'_>,
    ports: &[u16],
    reasons: &mut BTreeMap<&'static str, usize>,
) -> Result<(), TestCaseError> {
    let _open: Vec<Socket> = in_force
        .sockets
        .iter()
        .map(|socket| open(sandbox, socket))
        .collect();
    // Where the kernel won't have tracing programs, the gate has to look.
    if *gate.tracing() != Tracing::On {
        gate.keep().unwrap();
    }
    let of_test_runs =
        |vrf: &&u32| **vrf == TEST_RUN || in_force.slaves.get(&TEST_RUN) == Some(*vrf);
    let vrf = in_force.vrfs.keys().find(of_test_runs);
    let name = vrf.map_or("", |vrf| &in_force.vrfs[vrf].name);

    let mut expected = Counted::read(&gate.status().unwrap());
    for asked in packets(ports) {
        let decision = in_force.decide(asked);
        let made_up = packet(
            asked.protocol,
            SocketAddr::new(asked.local, asked.local_port),
            SocketAddr::new(asked.remote, 4000),
        );
        let verdict = gate.test_run(&made_up, 1).unwrap().verdict;
        let passes = matches!(decision, Decision::Pass(_));
        prop_assert_eq!(verdict, u32::from(passes), "{:?}: {:?}", asked, decision);
        expected.add(name, decision);
        *reasons.entry(reason(decision)).or_default() += 1;
    }
    prop_assert_eq!(Counted::read(&gate.status().unwrap()), expected);
    Ok(())
}

const REASONS: [&str; 10] = [
    "not a VRF",
    "as before",
    "rule",
    "listener, not listed",
    "listener, source not allowed",
    "audited, not listed",
    "audited, source not allowed",
    "not listed",
    "source not allowed",
    "rule to a prefix",
];

fn reason(decision: Decision<'_>) -> &'static str {
    match decision {
        Decision::Pass(PassReason::NotVrf) => "not a VRF",
        Decision::Pass(PassReason::AsBefore) => "as before",
        Decision::Pass(PassReason::Rule(rule)) if rule.has_prefixes() => "rule to a prefix",
        Decision::Pass(PassReason::Rule(_)) => "rule",
        Decision::Pass(PassReason::Listener { otherwise, .. }) => match otherwise {
            RefuseReason::NotListed => "listener, not listed",
            RefuseReason::SourceNotAllowed(_) => "listener, source not allowed",
        },
        Decision::Pass(PassReason::Audit(RefuseReason::NotListed)) => "audited, not listed",
        Decision::Pass(PassReason::Audit(RefuseReason::SourceNotAllowed(_))) => {
            "audited, source not allowed"
        }
        Decision::Refuse(RefuseReason::NotListed) => "not listed",
        Decision::Refuse(RefuseReason::SourceNotAllowed(_)) => "source not allowed",
    }
}

/// For each way that a namespace's sysctls may have been before the gate came.
#[test]
fn the_program_decides_and_counts_as_core_does() {
    let reasons = RefCell::new(BTreeMap::new());
    for open_before in [vec![], vec![Tcp], vec![Udp], vec![Tcp, Udp]] {
        let sandbox = Sandbox::new();
        for protocol in &open_before {
            sandbox.set_sysctl(if *protocol == Tcp { "tcp" } else { "udp" }, true);
        }
        let gate = RefCell::new(sandbox.attach(&RuleSet::default()));
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 100,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let cases = (any_rules(), vec(any_socket(), 0..6), port());
        runner
            .run(&cases, |(rules, sockets, random)| {
                let mut gate = gate.borrow_mut();
                gate.apply(rules.clone()).unwrap();
                let in_force = InForce {
                    open_before: &open_before,
                    sockets: &sockets,
                    ..InForce::from(&rules)
                };
                let ports = interesting_ports(&rules, &sockets, random);
                compare(
                    &sandbox,
                    &mut gate,
                    in_force,
                    &ports,
                    &mut reasons.borrow_mut(),
                )
            })
            .unwrap();
    }
    let reasons = reasons.into_inner();
    let missing = REASONS
        .iter()
        .filter(|reason| !reasons.contains_key(*reason));
    assert_eq!(
        missing.count(),
        0,
        "not every reason was tried: {reasons:?}"
    );
}
