//! One round: rules, listeners and packets that go together.

use fastrand::Rng;

use super::{
    listeners::{self, Listener},
    oracle::{Foretold, foretell},
    packets::Packet,
    rules::Rules,
    tally::{self, ALL, Tag},
    world::Order,
};

/// Packets of a round.
pub const PACKETS: usize = 200;

/// Packets to choose from when one of a certain kind is wanted.
const CHOICE: usize = 400;

pub struct Plan {
    pub rules: Rules,
    pub listeners: Vec<Listener>,
    /// Each with its fate.
    pub packets: Vec<(Packet, Foretold)>,
}

impl Plan {
    pub fn random(random: &mut Rng, order: Order) -> Self {
        let rules = Rules::random(random);
        let listeners = listeners::random(random);
        let packets = packets(random, order, &rules, &listeners);
        Self {
            rules,
            listeners,
            packets,
        }
    }
}

/// Packets whose fate is known, of all kinds in turn as far as there are any.
fn packets(
    random: &mut Rng,
    order: Order,
    rules: &Rules,
    listeners: &[Listener],
) -> Vec<(Packet, Foretold)> {
    let draw = |wanted: Tag| {
        let mut last = None;
        for _ in 0..CHOICE {
            let packet = Packet::random(random, order);
            if let Some(foretold) = foretell(rules, listeners, &packet) {
                let tags = tally::tags(&packet, &foretold, listeners);
                last = Some((packet, foretold));
                if tags.contains(&wanted) {
                    break;
                }
            }
        }
        last
    };
    let wanted = ALL.iter().copied().cycle();
    wanted.filter_map(draw).take(PACKETS).collect()
}
