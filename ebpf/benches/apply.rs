//! How long it takes until rules are in force: from one to 100,000 put into a live gate, and one that changes among as
//! many; with clients that connect meanwhile, none of which may be refused. `make bench-apply`.
//!
//! `lo` stands in for the VRF, so that clients need nothing but this kernel.

#[path = "../tests/common/mod.rs"]
mod common;
mod kit;

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Sandbox, on_addresses, rule, vrf};
use kit::{Series, verdict};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use vrfgate_core::{Posture, Protocol::Tcp, RuleSet};
use vrfgate_ebpf::{Capacity, Gate};

/// Ifindex of `lo` in every namespace.
const LO: u32 = 1;
/// Rules, and addresses of each. A gate of `vrfgate run` has counters for a thousand rules; a rule needs an entry of its
/// map for each address, so they may be many.
const SIZES: [(u32, u32); 8] = [
    (1, 1),
    (10, 1),
    (100, 1),
    (1000, 1),
    (1000, 10),
    (1000, 100),
    // With more counters than `vrfgate run` asks for.
    (10_000, 1),
    (100_000, 1),
];
/// What clients connect to: allowed before, during and after every change.
const SERVICE: &str = "127.0.0.1:7022";

fn main() {
    let rounds = kit::setting("ROUNDS", 7);
    let sizes: Vec<Size> = SIZES
        .into_iter()
        .map(|(rules, addresses)| measure(rules, addresses, rounds))
        .collect();
    report(&sizes, rounds);
}

/// What was found for one number of rules. Times in milliseconds of this thread, in the kernel too: on a machine that has
/// nothing else to do, that is how long it takes.
struct Size {
    rules: u32,
    addresses: u32,
    /// Into a gate that has only the clients' rule.
    all: Series,
    /// The same as time passes, with whatever else the machine does.
    all_wall: Series,
    /// The same while clients connect.
    all_under_load: Series,
    /// The port of one rule becomes another.
    one: Series,
    /// The same by a process that has just taken the gate over.
    one_after_restart: Series,
    connections: usize,
    refused: usize,
}

fn measure(rules: u32, addresses: u32, rounds: usize) -> Size {
    let sandbox = Sandbox::new();
    let netns = sandbox.netns();
    let listener = netns.run(|| TcpListener::bind(SERVICE)).unwrap().unwrap();
    let few = set(0, 1, 0);
    let many = set(rules, addresses, 0);
    let changed = set(rules, addresses, 1);
    let capacity = Capacity {
        counters: rules + 3,
        ..Capacity::default()
    };
    let mut gate = Gate::attach(&sandbox.store, netns, &few, &capacity).unwrap();
    let mut size = Size {
        rules,
        addresses,
        all: Series::default(),
        all_wall: Series::default(),
        all_under_load: Series::default(),
        one: Series::default(),
        one_after_restart: Series::default(),
        connections: 0,
        refused: 0,
    };
    for _ in 0..rounds {
        let start = Instant::now();
        size.all.push(time(&mut gate, many.clone()));
        size.all_wall.push(start.elapsed().as_secs_f64() * 1e3);
        size.one.push(time(&mut gate, changed.clone()));
        drop(gate);
        gate = sandbox.open().unwrap().unwrap();
        size.one_after_restart.push(time(&mut gate, many.clone()));
        gate.apply(few.clone()).unwrap();

        let (took, connections, refused) = with_clients(&sandbox, &listener, || {
            let took = time(&mut gate, many.clone());
            gate.apply(changed.clone()).unwrap();
            gate.apply(few.clone()).unwrap();
            took
        });
        size.all_under_load.push(took);
        size.connections += connections;
        size.refused += refused;
    }
    size
}

/// The clients' rule and `rules` others, each for one port of so many addresses. Of `version` 1, one of them, which has
/// one address, is for another port.
fn set(rules: u32, addresses: u32, version: u16) -> RuleSet {
    let others = (0..rules).map(|number| {
        let port = u16::try_from(10_000 + number % 400).unwrap();
        let first = 0x0a00_0001 + number / 400 * addresses;
        let addresses = (first..first + addresses).map(|address| Ipv4Addr::from(address).into());
        on_addresses(rule(&number.to_string(), Tcp, port..=port, &[]), addresses)
    });
    let one = 9000 + version;
    let constant = [
        rule("clients", Tcp, 7022..=7022, &["127.0.0.1"]),
        rule("one", Tcp, one..=one, &["10.0.0.1"]),
    ];
    vrf(LO, Posture::Enforced, others.chain(constant).collect())
}

fn time(gate: &mut Gate, rules: RuleSet) -> f64 {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let start = now();
    let changes = gate.apply(rules).unwrap();
    let took = now().saturating_sub(start).as_secs_f64() * 1e3;
    assert!(changes.written > 0, "nothing was to be done");
    took
}

/// Does `work` while a client connects again and again. Says, too, how often it tried and was refused.
fn with_clients(
    sandbox: &Sandbox,
    listener: &TcpListener,
    work: impl FnOnce() -> f64,
) -> (f64, usize, usize) {
    let working = AtomicBool::new(true);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let connect = || {
                let (mut connections, mut refused) = (0, 0);
                while working.load(Ordering::Relaxed) {
                    connections += 1;
                    match TcpStream::connect(SERVICE) {
                        Ok(_) => drop(listener.accept().unwrap()),
                        Err(_) => refused += 1,
                    }
                }
                (connections, refused)
            };
            sandbox.netns().run(connect).unwrap()
        });
        let took = work();
        working.store(false, Ordering::Relaxed);
        let (connections, refused) = client.join().unwrap();
        (took, connections, refused)
    })
}

fn report(sizes: &[Size], rounds: usize) {
    let machine = kit::machine();
    println!(
        "Rules into a live gate on {}, Linux {}, {}; load {}; median of {rounds} rounds.",
        machine["cpu"], machine["kernel"], machine["date"], machine["load"]
    );
    println!(
        "{:>8} {:>9} {:>12} {:>14} {:>12} {:>18} {:>12} {:>8}",
        "rules",
        "addresses",
        "all",
        "under load",
        "one of them",
        "after a restart",
        "connections",
        "refused"
    );
    let mut results: Vec<Value> = Vec::new();
    for size in sizes {
        let Size {
            rules,
            addresses,
            all,
            all_wall,
            all_under_load,
            one,
            one_after_restart,
            connections,
            refused,
        } = size;
        println!(
            "{rules:>8} {addresses:>9} {:>9.2} ms {:>11.2} ms {:>9.2} ms {:>15.2} ms {connections:>12} {refused:>8}",
            all.median(),
            all_under_load.median(),
            one.median(),
            one_after_restart.median()
        );
        results.push(json!({
            "rules": rules, "addresses": addresses, "entries": rules * addresses,
            "all": all.spread().json(), "all_wall": all_wall.spread().json(), "all_under_load": all_under_load.spread().json(),
            "one": one.spread().json(), "one_after_restart": one_after_restart.spread().json(),
            "connections": connections, "refused": refused,
        }));
    }
    println!("\ngoals:");
    let largest = sizes
        .iter()
        .filter(|size| size.rules * size.addresses >= 100_000);
    let mut goals: Vec<Value> = Vec::new();
    for size in largest {
        let (all, one) = (size.all.median(), size.one.median());
        println!(
            "{} rules of {} addresses: {all:.0} ms (at most 1,000): {}; one that changes: {one:.2} ms (at most 1): {}",
            size.rules,
            size.addresses,
            verdict(all <= 1e3),
            verdict(one <= 1.0)
        );
        goals.push(json!({"rules": size.rules, "all_met": all <= 1e3, "one_met": one <= 1.0}));
    }
    let refused: usize = sizes.iter().map(|size| size.refused).sum();
    println!(
        "{refused} connections wrongly refused (none): {}",
        verdict(refused == 0)
    );
    kit::save(
        "apply",
        &json!({"machine": machine, "unit": "ms", "rounds": rounds, "sizes": results, "goals": goals, "refused": refused}),
    );
}
