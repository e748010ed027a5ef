//! What everybody pays who has a gate and whose traffic doesn't come through a VRF; and what a listed service pays that
//! does. The device of the cable stands in for a VRF there: the program sees its number as it would see a VRF's.
//!
//! The programs are those of gates in other namespaces, attached here in the order in which a gate attaches them:
//! so they can be exchanged within a millisecond, and their maps stay as they are.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use aya::programs::{SkLookup, sk_lookup::SkLookupLink};
use serde_json::{Value, json};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
    Rule,
};
use vrfgate_ebpf::{Capacity, Gate, Netns};

use crate::{
    common::{Sandbox, on_addresses, rule, vrf},
    kit::{self, Series, Spread, verdict},
    load::{Clock, Load, Servers},
    net::{Net, PORT, SERVER},
};

/// Number of a VRF that nothing comes from.
const ELSEWHERE: u32 = 4_000_000;
/// How long one measurement lasts.
const SLICE: Duration = Duration::from_millis(60);

const LOADS: [Load; 3] = [Load::Connections, Load::Datagrams, Load::Stream];

pub fn measure() {
    let rounds = kit::setting("ROUNDS", 60);
    let net = Net::new(None);
    let servers = Servers::start(&net.server.netns());
    let cable = net.ifindex("cable");
    let mut set_ups = vec![
        SetUp::empty(),
        SetUp::gate("gate, no VRF has rules", ELSEWHERE, 0),
        SetUp::gate("gate, 10,000 rules for a VRF", ELSEWHERE, 10_000),
        SetUp::gate("through the VRF: listed", cable, 0),
        SetUp::gate("through the VRF: listed among 10,000", cable, 10_000),
    ];
    let results = LOADS.map(|load| {
        let times = rounds_of(load, &net, &servers, &mut set_ups, rounds);
        report(load, &set_ups, &times, rounds)
    });
    let machine = kit::machine();
    println!(
        "{} on {}, load {}",
        machine["kernel"], machine["cpu"], machine["load"]
    );
    goals(&results);
    kit::save(
        "traffic",
        &json!({"machine": machine, "rounds": rounds, "unit": "operations a second", "loads": results}),
    );
}

/// Programs that packets have to pass.
struct SetUp {
    name: &'static str,
    programs: Vec<SkLookup>,
    _gate: Option<(Sandbox, Gate)>,
    _loaded: Option<aya::Ebpf>,
}

impl SetUp {
    fn empty() -> Self {
        let mut loaded = kit::load_programs();
        let pin = kit::program(&mut loaded, "empty");
        let sandbox = Sandbox::new();
        let path = sandbox.bpffs().join("empty");
        pin.pin(&path).unwrap();
        Self {
            name: "empty program",
            programs: vec![SkLookup::from_pin(&path).unwrap()],
            _gate: None,
            _loaded: Some(loaded),
        }
    }

    /// Gate and guard, with rules for the service and for `others`.
    fn gate(name: &'static str, device: u32, others: u32) -> Self {
        let sandbox = Sandbox::new();
        let others = (0..others).map(|number| {
            let port = u16::try_from(10_000 + number % 400).unwrap();
            let address = Ipv4Addr::from(0x0a00_0101 + number / 400);
            let rule = rule(&number.to_string(), Tcp, port..=port, &[]);
            on_addresses(rule, [IpAddr::V4(address)])
        });
        let own = [
            rule("tcp", Tcp, PORT..=PORT, &[SERVER]),
            rule("udp", Udp, PORT..=PORT, &[SERVER]),
        ];
        let rules: Vec<Rule> = own.into_iter().chain(others).collect();
        let capacity = Capacity {
            counters: u32::try_from(rules.len()).unwrap() + 2,
            ..Capacity::default()
        };
        let set = vrf(device, Posture::Enforced, rules);
        let gate = Gate::attach(&sandbox.store, sandbox.netns(), &set, &capacity).unwrap();
        let programs = ["program", "guard-program"]
            .map(|pin| SkLookup::from_pin(sandbox.pins().join(pin)).unwrap());
        Self {
            name,
            programs: programs.into(),
            _gate: Some((sandbox, gate)),
            _loaded: None,
        }
    }

    fn attach(&mut self, netns: &Netns) -> Vec<SkLookupLink> {
        self.programs
            .iter_mut()
            .map(|program| kit::attach(program, netns))
            .collect()
    }
}

/// Times of the set-ups, and of no program at all before each of them: what else the machine does changes from second
/// to second, so each is compared with its neighbour.
struct Times {
    own: Series,
    /// How much slower than without a program, of 1.
    slowdown: Series,
    without: Series,
}

fn rounds_of(
    load: Load,
    net: &Net,
    servers: &Servers,
    set_ups: &mut [SetUp],
    rounds: usize,
) -> Vec<Times> {
    let netns = net.server.netns();
    let count = operations_of_a_slice(load, net, servers);
    let mut times: Vec<Times> = set_ups
        .iter()
        .map(|_| Times {
            own: Series::default(),
            slowdown: Series::default(),
            without: Series::default(),
        })
        .collect();
    for _ in 0..rounds {
        let mut before = load.seconds(Clock::Thread, net, servers, count);
        for (set_up, times) in set_ups.iter_mut().zip(&mut times) {
            let links = set_up.attach(&netns);
            let own = load.seconds(Clock::Thread, net, servers, count);
            drop(links);
            let after = load.seconds(Clock::Thread, net, servers, count);
            let without = f64::midpoint(before, after);
            times.own.push(own);
            times.without.push(without);
            times.slowdown.push(own / without - 1.0);
            before = after;
        }
    }
    times
}

fn operations_of_a_slice(load: Load, net: &Net, servers: &Servers) -> u32 {
    let trial = 200;
    load.seconds(Clock::Thread, net, servers, trial);
    let seconds = load.seconds(Clock::Thread, net, servers, trial);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of operations"
    )]
    let count = (SLICE.as_secs_f64() / seconds) as u32;
    count.max(trial)
}

fn report(load: Load, set_ups: &[SetUp], times: &[Times], rounds: usize) -> Value {
    println!(
        "{} a second of one processor; median of {rounds} rounds (middle half)",
        load.name()
    );
    let without: Series = times.iter().map(|times| times.without.median()).collect();
    let without = without.median();
    println!("{:38} {:>10.0}", "no program", 1.0 / without);
    let rows = set_ups.iter().zip(times).map(|(set_up, times)| {
        let own = times.own.median();
        let Spread { median, low, high } = times.slowdown.spread();
        println!(
            "{:38} {:>10.0} {:>+7.2} % ({:+.2} to {:+.2}) {:>+8.0} ns",
            set_up.name,
            1.0 / own,
            -100.0 * median,
            -100.0 * high,
            -100.0 * low,
            without * median * 1e9,
        );
        json!({
            "name": set_up.name, "a_second": (1.0 / own).round(), "slowdown": times.slowdown.spread().json(),
        })
    });
    let rows: Vec<Value> = rows.collect();
    println!();
    json!({"load": load.name(), "without": (1.0 / without).round(), "set_ups": rows})
}

fn goals(results: &[Value]) {
    for (result, most) in results.iter().zip([0.01, 0.02, 0.01]) {
        let slowdowns = result["set_ups"].as_array().into_iter().flatten().skip(1);
        let worst = slowdowns
            .filter_map(|set_up| set_up["slowdown"]["median"].as_f64())
            .fold(f64::MIN, f64::max);
        println!(
            "goal: {}: at most {:.0} % slower than without a program; {:.2} %: {}",
            result["load"].as_str().unwrap_or_default(),
            most * 100.0,
            worst * 100.0,
            verdict(worst <= most)
        );
    }
}
