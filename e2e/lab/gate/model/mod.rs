//! The data plane against a model: random rules, random listeners, random packets, one answer.
//!
//! The rules go to the kernel by the program that users run. What must become of packets is said by an oracle
//! ([`oracle`]) that shares nothing with it: neither the reading of leaks nor the idea of the namespace. The decision of
//! `vrfgate-core` is compared with the oracle, too ([`decision`]), so that none of the three can differ from the others.

mod decision;
mod listeners;
mod oracle;
mod packets;
mod plan;
mod prefix;
mod rules;
mod sockets;
mod tally;
mod wire;
mod world;

use std::{env, fmt, sync::OnceLock, time::Instant};

use fastrand::Rng;
use vrfgate_e2e::Vrfgate;

use self::{
    listeners::Listener,
    oracle::Foretold,
    packets::Packet,
    plan::{PACKETS, Plan},
    sockets::Servers,
    tally::Tally,
    wire::Fate,
    world::{Order, World},
};
use crate::suite::tests;

tests! {
    "gate";
    once:
        random_packets_meet_the_fate_that_the_model_foretells;
}

/// Rule sets, each with [`PACKETS`] of its own.
const ROUNDS: usize = 12;

/// The transport of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A new one with each run. A test that is tried a second time has the same, or a seed that finds something would be
/// forgotten for one that doesn't.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match env::var("VRFGATE_LAB_SEED") {
        Ok(seed) => seed
            .parse()
            .unwrap_or_else(|error| panic!("VRFGATE_LAB_SEED={seed}: {error}")),
        Err(_) => fastrand::u64(..),
    })
}

fn random_packets_meet_the_fate_that_the_model_foretells() {
    let seed = seed();
    eprintln!("the model: VRFGATE_LAB_SEED={seed}");
    let begin = Instant::now();
    let mut random = Rng::with_seed(seed);
    let world = World::new();
    let vrfgate = world.lab.vrfgate();
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let order = if round < ROUNDS / 2 {
            Order::LocalFirst
        } else {
            Order::LocalLast
        };
        if round == ROUNDS / 2 {
            world.put_local_table_last();
        }
        let plan = Plan::random(&mut random, order);
        let differing = decision::differing(&plan);
        assert!(
            differing.is_empty(),
            "VRFGATE_LAB_SEED={seed}, rule set {round}, {order:?}: core differs on {} of {PACKETS} packets:\n{}\n{}",
            differing.len(),
            differing.join("\n"),
            plan.rules,
        );
        let servers = set_up(&mut random, &world, &vrfgate, &plan, round);
        let wrong = wrong(&world, &servers, &plan);
        assert!(
            wrong.is_empty(),
            "VRFGATE_LAB_SEED={seed}, rule set {round}, {order:?}: {} of {PACKETS} packets:\n{}\n{}\n{}",
            wrong.len(),
            wrong.join("\n"),
            plan.rules,
            vrfgate.status_text(),
        );
        tally.add(&plan);
    }
    eprintln!(
        "the model: {} packets in {:.0?}: {tally}",
        ROUNDS * PACKETS,
        begin.elapsed()
    );
    let missing = tally.missing();
    assert!(
        missing.is_empty(),
        "VRFGATE_LAB_SEED={seed}: no packet was {missing:?}"
    );
}

/// Has the rules put into force, and the listeners listen; which comes first, is random. The gate comes before all
/// listeners, because none comes while ports are shared (`shared::`).
fn set_up(
    random: &mut Rng,
    world: &World,
    vrfgate: &Vrfgate,
    plan: &Plan,
    round: usize,
) -> Servers {
    let open = || Servers::open(world, &plan.listeners);
    let before = (round > 0 && random.bool()).then(open);
    vrfgate.apply(&plan.rules.to_string());
    let status = vrfgate.status();
    let leaks = status["leaks"].as_array().map_or(&[][..], Vec::as_slice);
    assert!(
        !leaks.is_empty() && leaks.iter().all(|leak| leak["state"] == "InForce"),
        "these leaks go together:\n{}\n{status:#}",
        plan.rules
    );
    before.unwrap_or_else(open)
}

/// Sends the packets, and says of each whose fate is not the model's what became of it.
fn wrong(world: &World, servers: &Servers, plan: &Plan) -> Vec<String> {
    let Plan {
        rules: _,
        listeners,
        packets,
    } = plan;
    let fates = wire::send(world, servers, listeners, packets);
    let story = |((packet, foretold), fate): (&(Packet, Foretold), Fate)| {
        let as_foretold = match (&fate, foretold.reached) {
            (Fate::Reached(place), Some(wanted)) => *place == wanted,
            (Fate::Refused, None) => true,
            (Fate::Silence, None) => !foretold.heard_of,
            _ => false,
        };
        let name = |place: usize| format!("reached {}", listeners[place]);
        let became = match fate {
            Fate::Reached(place) => name(place),
            other => format!("{other:?}"),
        };
        let wanted = foretold.reached.map_or("Refused".to_owned(), name);
        let port = |it: &&Listener| (it.protocol, it.port) == (packet.protocol, packet.port);
        let there: Vec<String> = listeners
            .iter()
            .filter(port)
            .map(Listener::to_string)
            .collect();
        (!as_foretold).then(|| {
            format!(
                "{packet}: {became}; the model: {wanted}, {:?}; listeners: {}",
                foretold.tags,
                there.join(", ")
            )
        })
    };
    packets.iter().zip(fates).filter_map(story).collect()
}

fn one_of<T: Copy>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(..all.len())]
}

/// One to three of them.
fn some_of<T: Copy>(random: &mut Rng, all: &[T]) -> Vec<T> {
    let number = random.usize(1..=3);
    random.choose_multiple(all.iter().copied(), number)
}
