//! What must become of a packet, by the documentation of vrfgate and of the kernel, in words of its own.
//!
//! Shares nothing with vrfgate: neither its types, nor its reading of leaks, nor its idea of the namespace.

use super::{
    Protocol,
    listeners::{Bound, Listener},
    packets::{Client, Kind, Packet, Way},
    rules::{Mode, Rules},
    tally::Tag,
    world::is_for,
};

/// What must become of a packet.
#[derive(Clone, Debug)]
pub struct Foretold {
    /// Place of the listener that gets it; `None` for a closed port.
    pub reached: Option<usize>,
    /// Whether anybody hears of it.
    pub heard_of: bool,
    /// Why, for people and for the tally.
    pub tags: Vec<Tag>,
}

/// The fate of a packet; `None` where it depends on the order in which sockets came, which nobody documents.
pub fn foretell(rules: &Rules, listeners: &[Listener], packet: &Packet) -> Option<Foretold> {
    let (reached, tags) = fate(rules, listeners, packet).ok()?;
    Some(Foretold {
        reached,
        heard_of: reached.is_some() || is_told_of_refusals(packet),
        tags,
    })
}

/// Place of the listener that the kernel prefers for a packet that the gate lets through.
pub fn kernels_choice(listeners: &[Listener], packet: &Packet) -> Result<Option<usize>, ByOrder> {
    preferred(listeners, &matching(listeners, packet))
}

/// Places of the listeners that could have the packet.
fn matching(listeners: &[Listener], packet: &Packet) -> Vec<usize> {
    (0..listeners.len())
        .filter(|place| hears(&listeners[*place], packet))
        .collect()
}

fn fate(
    rules: &Rules,
    listeners: &[Listener],
    packet: &Packet,
) -> Result<(Option<usize>, Vec<Tag>), ByOrder> {
    let matching = matching(listeners, packet);
    let is_unbound = |place: &usize| listeners[*place].bound == Bound::Nothing;
    let is_on_slave = |place: &usize| matches!(listeners[*place].bound, Bound::Slave(_));
    let Some(Way { vrf, .. }) = packet.way() else {
        return Ok((preferred(listeners, &matching)?, vec![Tag::PastVrfs]));
    };
    let (open, mut tags) = open(rules, vrf, packet);
    if open {
        return Ok((preferred(listeners, &matching)?, tags));
    }
    // "VRF-bound listeners go on as before." "A wildcard listener bound to the VRF is refused on an address that an
    // unbound socket holds on the same port, because the kernel would give the packet to the unbound one. So is a listener
    // bound to a slave where an unbound socket could have the packet: one on that address, or on all." (docs/limits.md)
    let winner = preferred(listeners, &matching);
    if matching.iter().any(is_unbound) && matching.iter().any(is_on_slave) {
        tags.push(match winner {
            Ok(Some(place)) if is_on_slave(&place) => Tag::SlaveListenerOnAddressBesideUnbound,
            _ => Tag::SlaveListenerBesideUnbound,
        });
        return Ok((None, tags));
    }
    let winner = winner?;
    tags.push(match winner.map(|place| listeners[place].bound) {
        None => Tag::NobodyListens,
        Some(Bound::Vrf(_)) => Tag::VrfListenerGoesOn,
        Some(Bound::Slave(_)) => Tag::SlaveListenerGoesOn,
        Some(Bound::Nothing) if matching.iter().all(is_unbound) => Tag::UnboundIsKeptFrom,
        Some(Bound::Nothing) => Tag::VrfListenerBesideUnbound,
    });
    Ok((winner.filter(|place| !is_unbound(place)), tags))
}

/// Whether leaks let the packet in, or an audit, and why.
fn open(rules: &Rules, vrf: usize, packet: &Packet) -> (bool, Vec<Tag>) {
    let policy = rules.of(vrf);
    let to = packet.to.address;
    let mut of_this_port = policy.services.iter().filter(|service| {
        service.protocol == packet.protocol && (service.first..=service.last).contains(&packet.port)
    });
    let opened = is_for(vrf, to)
        .then(|| {
            of_this_port
                .clone()
                .find(|service| service.addresses.iter().any(|prefix| prefix.opens(to)))
        })
        .flatten();
    let mut tags = Vec::new();
    let admitted = opened.is_some_and(|service| {
        let sources = &service.sources;
        let admitted = sources.iter().any(|prefix| prefix.contains(packet.from()));
        if admitted {
            tags.push(Tag::BySource);
        } else if !sources.is_empty() {
            tags.push(Tag::SourceNotListed);
        }
        sources.is_empty() || admitted
    });
    if admitted {
        tags.push(match policy.mode {
            Mode::Audit => Tag::ByRuleUnderAudit,
            Mode::Enforce | Mode::Unnamed => Tag::ByRule,
        });
        return (true, tags);
    }
    if opened.is_none()
        && of_this_port.any(|service| service.addresses.iter().any(|prefix| prefix.contains(to)))
    {
        tags.push(Tag::NotMeant);
    }
    tags.push(match policy.mode {
        Mode::Enforce => Tag::Enforced,
        Mode::Audit => Tag::Audited,
        Mode::Unnamed => Tag::Unnamed,
    });
    (policy.mode == Mode::Audit, tags)
}

/// Whether a listener could have the packet, with `tcp_l3mdev_accept` and `udp_l3mdev_accept` at 1.
fn hears(listener: &Listener, packet: &Packet) -> bool {
    listener.protocol == packet.protocol
        && listener.port == packet.port
        && listener.on.takes(packet.to.address)
        && match (listener.bound, packet.way(), packet.to.kind) {
            (Bound::Nothing, _, _) => true,
            (Bound::Vrf(bound), Some(Way { vrf, .. }), _) => bound == vrf,
            (Bound::Slave(bound), Some(Way { slave, .. }), _) => Some(bound) == slave,
            // What passes by the VRF comes in by the slave.
            (Bound::Slave(bound), None, Kind::OnTheLink(slave)) => bound == slave,
            (Bound::Vrf(_) | Bound::Slave(_), None, _) => false,
        }
}

/// Two listeners could have a packet, and the order in which they came decides.
pub struct ByOrder;

/// The one of several listeners that the kernel prefers: one on the very address to a wildcard, whatever they are bound
/// to.
fn preferred(listeners: &[Listener], matching: &[usize]) -> Result<Option<usize>, ByOrder> {
    for wildcard in [false, true] {
        let is_such = |place: &usize| listeners[*place].on.is_wildcard() == wildcard;
        let such: Vec<usize> = matching.iter().copied().filter(is_such).collect();
        match such.as_slice() {
            [] => {}
            [one] => return Ok(Some(*one)),
            _ => return Err(ByOrder),
        }
    }
    Ok(None)
}

/// Whether the client learns of a closed port: a client on a slave doesn't learn of a closed IPv4 UDP port.
fn is_told_of_refusals(packet: &Packet) -> bool {
    let on_slave = matches!(packet.client, Client::OnSlave(_));
    !(on_slave && packet.protocol == Protocol::Udp && packet.to.address.is_ipv4())
}
