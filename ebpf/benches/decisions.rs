//! What one decision costs, by `BPF_PROG_TEST_RUN`: the gate in every situation it knows, beside a program that does
//! nothing and one that looks everything up in a single trie. `make bench-decisions`.
//!
//! *Hot* is the same packet 100,000 times: what the program's instructions cost. *Cold* is another packet
//! each time, spread over all the rules: what the memory behind them costs, too.

#[path = "../tests/common/mod.rs"]
mod common;
mod kit;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{HashMap, LpmTrie, MapData, lpm_trie::Key},
    programs::SkLookup,
};
use common::{Sandbox, from_sources, on_addresses, on_prefixes, packet, rule, vrf};
use kit::{Series, Spread, verdict};
use serde_json::{Value, json};
use vrfgate_abi::{ANY_IPV4, ListenerKey, Listeners, ON_DEVICE};
use vrfgate_core::{
    Posture,
    Protocol::{self, Tcp},
    Rule, RuleSet,
};
use vrfgate_ebpf::{Capacity, Gate, LAYOUT, TestPacket, test_run};

/// Ifindex of every packet of a test run.
const TEST_RUN: u32 = 0;
/// Ifindex of a VRF that no packet of a test run comes from.
const ELSEWHERE: u32 = 77;
const SIZES: [u32; 5] = [1, 10, 1000, 10_000, 100_000];
/// Packets of a cold round.
const COLD: u32 = 4096;
const HOT: u32 = 100_000;
const CLIENT: &str = "10.200.0.9:40000";
const PASS: u32 = 1;
const DROP: u32 = 0;

fn main() {
    let rounds = kit::setting("ROUNDS", 21);
    let mut programs = kit::load_programs();
    let cases = cases(&mut programs);
    for case in &cases {
        case.check();
    }
    let mut times = vec![(Series::default(), Series::default()); cases.len()];
    // In turns, so that what else the machine does is everybody's burden.
    for _ in 0..rounds {
        for (case, (hot, cold)) in cases.iter().zip(&mut times) {
            hot.push(case.hot());
            cold.push(case.cold());
        }
    }
    report(&cases, &times, rounds);
}

/// One program in one situation.
struct Case {
    /// What it is compared by: cases of one name differ in their number of rules.
    name: &'static str,
    rules: u32,
    program: OwnedFd,
    packets: Vec<TestPacket>,
    verdict: u32,
    gate: Option<(Sandbox, Gate)>,
}

impl Case {
    fn run(&self, packet: &TestPacket, repeat: u32) -> (u32, f64) {
        let run = test_run(self.program.as_fd(), packet, repeat).unwrap();
        (run.verdict, f64::from(run.duration_ns))
    }

    /// A benchmark of something else than it says would be worse than none.
    fn check(&self) {
        for packet in &self.packets {
            let (verdict, _) = self.run(packet, 1);
            assert_eq!(
                verdict, self.verdict,
                "{} with {} rules: {packet:?}",
                self.name, self.rules
            );
        }
    }

    fn hot(&self) -> f64 {
        self.run(&self.packets[0], HOT).1
    }

    fn cold(&self) -> f64 {
        let packets = self.packets.iter().cycle().take(COLD as usize);
        let times: Series = packets.map(|packet| self.run(packet, 1).1).collect();
        times.median()
    }
}

fn cases(programs: &mut Ebpf) -> Vec<Case> {
    let strangers = || vec![tcp("203.0.113.9:22")];
    let mut cases = vec![
        of_program(programs, "empty", strangers()),
        of_program(programs, "turns", strangers()),
    ];
    for rules in SIZES {
        cases.push(gate(
            "not through a VRF",
            rules,
            ELSEWHERE,
            strangers(),
            PASS,
        ));
    }
    for rules in SIZES {
        cases.push(gate("hit", rules, TEST_RUN, spread(rules), PASS));
        cases.push(trie(rules));
    }
    for rules in SIZES {
        cases.push(gate("miss", rules, TEST_RUN, strangers(), DROP));
    }
    let ssh = || rule("ssh", Tcp, 22..=22, &["192.0.2.1"]);
    let restricted = from_sources(ssh(), &["10.200.0.0/16", "10.201.0.0/16"]);
    let any_ip = on_prefixes(rule("web", Tcp, 22..=22, &[]), &["203.0.113.0/24"]);
    let range = rule("range", Tcp, 8000..=8999, &["192.0.2.1"]);
    cases.extend([
        with_rules("source allowed", restricted, tcp("192.0.2.1:22")),
        with_rules("AnyIP", any_ip, tcp("203.0.113.9:22")),
        with_rules("port range, 1000 ports", range, tcp("192.0.2.1:8500")),
        bound("bound listener", [192, 0, 2, 1]),
        bound("bound wildcard listener", [0; 4]),
        guard_alone(),
    ]);
    cases
}

fn of_program(programs: &mut Ebpf, name: &'static str, packets: Vec<TestPacket>) -> Case {
    Case {
        name,
        rules: 0,
        program: descriptor(kit::program(programs, name)),
        packets,
        verdict: PASS,
        gate: None,
    }
}

fn descriptor(program: &SkLookup) -> OwnedFd {
    program.fd().unwrap().as_fd().try_clone_to_owned().unwrap()
}

/// A gate of a VRF with so many rules, each for a port of an address.
fn gate(
    name: &'static str,
    rules: u32,
    vrf_device: u32,
    packets: Vec<TestPacket>,
    verdict: u32,
) -> Case {
    let set = (0..rules).map(|number| {
        let service = service(number);
        let ports = service.port()..=service.port();
        on_addresses(rule(&number.to_string(), Tcp, ports, &[]), [service.ip()])
    });
    let set = vrf(vrf_device, Posture::Enforced, set.collect());
    of_gate(name, rules, &set, packets, verdict, "program")
}

fn with_rules(name: &'static str, rule: Rule, packet: TestPacket) -> Case {
    let set = vrf(TEST_RUN, Posture::Enforced, vec![rule]);
    of_gate(name, 1, &set, vec![packet], PASS, "program")
}

/// A gate without rules, and a listener that is bound to the VRF. The kernel has no such VRF: the listener is one that
/// the tracker might have written down.
fn bound(name: &'static str, address: [u8; 4]) -> Case {
    let set = vrf(TEST_RUN, Posture::Enforced, vec![]);
    let packets = vec![tcp("192.0.2.1:22")];
    let case = of_gate(name, 0, &set, packets, PASS, "program");
    let (sandbox, _) = case.gate.as_ref().unwrap();
    let pin = sandbox.pins().join(format!("v{LAYOUT}/listeners"));
    let map = aya::maps::Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let mut listeners: HashMap<_, ListenerKey, Listeners> = map.try_into().unwrap();
    let address = if address == [0; 4] {
        ANY_IPV4
    } else {
        vrfgate_abi::map_ipv4(address)
    };
    let key = ListenerKey {
        netns: sandbox.netns().id().0,
        device: TEST_RUN,
        port: 22,
        protocol: Tcp.number(),
        scope: ON_DEVICE,
        address,
    };
    listeners.insert(key, Listeners { sockets: 1 }, 0).unwrap();
    case
}

/// The guard where the gate did not run: it decides as the gate does.
fn guard_alone() -> Case {
    let set = vrf(
        TEST_RUN,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 22..=22, &["192.0.2.1"])],
    );
    let packets = vec![tcp("192.0.2.1:22")];
    of_gate(
        "guard without its gate, hit",
        1,
        &set,
        packets,
        PASS,
        "guard-program",
    )
}

fn of_gate(
    name: &'static str,
    rules: u32,
    set: &RuleSet,
    packets: Vec<TestPacket>,
    verdict: u32,
    pin: &str,
) -> Case {
    let sandbox = Sandbox::new();
    let capacity = Capacity {
        counters: rules + 2,
        ..Capacity::default()
    };
    let gate = Gate::attach(&sandbox.store, sandbox.netns(), set, &capacity).unwrap();
    let program = SkLookup::from_pin(sandbox.pins().join(pin)).unwrap();
    Case {
        name,
        rules,
        program: descriptor(&program),
        packets,
        verdict,
        gate: Some((sandbox, gate)),
    }
}

/// The single trie with the same services.
fn trie(rules: u32) -> Case {
    // Its own maps for each size: a trie's cost is in its nodes.
    let mut programs = kit::load_programs();
    let program = descriptor(kit::program(&mut programs, "trie"));
    let map = programs.map_mut("services").unwrap();
    let mut services: LpmTrie<_, [u8; 20], u32> = map.try_into().unwrap();
    for number in 0..rules {
        let service = service(number);
        let IpAddr::V4(address) = service.ip() else {
            unreachable!("services are IPv4");
        };
        let mut key = [0; 20];
        key[0] = Tcp.number();
        key[2..4].copy_from_slice(&service.port().to_be_bytes());
        key[4..].copy_from_slice(&vrfgate_abi::map_ipv4(address.octets()));
        services.insert(&Key::new(160, key), number, 0).unwrap();
    }
    Case {
        name: "single trie, hit",
        rules,
        program,
        packets: spread(rules),
        verdict: PASS,
        gate: None,
    }
}

/// Service number `number`: 400 ports of each address.
fn service(number: u32) -> SocketAddr {
    let port = u16::try_from(10_000 + number % 400).unwrap();
    let address = Ipv4Addr::from(0x0a00_0001 + number / 400);
    SocketAddr::new(address.into(), port)
}

/// Packets for as many services as a cold round has, in no order.
fn spread(rules: u32) -> Vec<TestPacket> {
    // A step without a common divisor with any size meets every service before the first comes again.
    let numbers = (0..COLD.min(rules)).map(|packet| packet.wrapping_mul(7919) % rules);
    numbers.map(|number| tcp_to(service(number))).collect()
}

fn tcp(to: &str) -> TestPacket {
    tcp_to(to.parse().unwrap())
}

fn tcp_to(to: SocketAddr) -> TestPacket {
    packet(Protocol::Tcp, to, CLIENT.parse().unwrap())
}

fn report(cases: &[Case], times: &[(Series, Series)], rounds: usize) {
    let machine = kit::machine();
    println!(
        "Decision cost on {}, Linux {}, {}; load {}; median of {rounds} rounds (its middle half).",
        machine["cpu"], machine["kernel"], machine["date"], machine["load"]
    );
    let (empty_hot, empty_cold) = &times[0];
    println!(
        "{:30} {:>7} {:>10} {:>24} {:>16}",
        "", "rules", "hot", "hot, above empty", "cold, above empty"
    );
    let above = |own, empty| own - empty;
    let mut results = Vec::new();
    let mut hot_above = Vec::new();
    for (case, (hot, cold)) in cases.iter().zip(times) {
        let hot_by = hot.beside(empty_hot, above).spread();
        let cold_by = cold.beside(empty_cold, above).spread();
        let Spread { median, low, high } = hot_by;
        println!(
            "{:30} {:>7} {:>7.0} ns {:>7.0} ns ({low:>5.0} to {high:>4.0}) {:>13.0} ns",
            case.name,
            case.rules,
            hot.median(),
            median,
            cold_by.median,
        );
        hot_above.push((case.name, case.rules, median));
        results.push(json!({
            "name": case.name, "rules": case.rules,
            "hot": hot.spread().json(), "above_empty": hot_by.json(), "cold_above_empty": cold_by.json(),
        }));
    }
    let goals = goals(&hot_above);
    kit::save(
        "decisions",
        &json!({"machine": machine, "unit": "ns", "rounds": rounds, "cases": results, "goals": goals}),
    );
}

fn goals(above: &[(&str, u32, f64)]) -> Value {
    let of = |name: &'static str| above.iter().filter(move |case| case.0 == name);
    let largest = |name| of(name).map(|case| case.2).fold(0.0, f64::max);
    let other = largest("not through a VRF");
    let hits = largest("hit");
    let of_one = of("hit").map(|case| case.2).next().unwrap_or(f64::NAN);
    let growth = hits / of_one;
    println!(
        "\ngoals: {:>5.1} ns above empty for what comes through no VRF (at most 15): {}",
        other,
        verdict(other <= 15.0)
    );
    println!(
        "       {hits:>5.1} ns above empty for a hit (at most 60): {}",
        verdict(hits <= 60.0)
    );
    println!(
        "       {growth:>5.2} times from 1 rule to the most expensive size (at most 1.5): {}",
        verdict(growth <= 1.5)
    );
    json!({
        "other_ns": other, "other_met": other <= 15.0,
        "hit_ns": hits, "hit_met": hits <= 60.0,
        "growth": growth, "growth_met": growth <= 1.5,
    })
}
