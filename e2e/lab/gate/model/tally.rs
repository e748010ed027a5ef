//! What was tried: a run that leaves out a kind of packet proves nothing of it.

use std::{collections::BTreeMap, fmt};

use super::{
    Protocol,
    listeners::{Bound, Listener, On},
    oracle::Foretold,
    packets::{Client, Kind, Packet},
    plan::Plan,
    prefix::is_special,
};

/// An enum and a list of all its values.
macro_rules! tags {
    ($($(#[$about:meta])* $tag:ident,)+) => {
        /// What there is to a packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Tag { $($(#[$about])* $tag),+ }

        /// Every tag.
        pub const ALL: &[Tag] = &[$(Tag::$tag),+];
    };
}

tags! {
    /// The gate isn't asked.
    PastVrfs,
    // Why a packet that comes through a VRF is let in, or isn't.
    ByRule,
    /// By a rule, but an audit would have let it in as well.
    ByRuleUnderAudit,
    /// By a rule that lists the client.
    BySource,
    /// There is a rule, for others.
    SourceNotListed,
    /// A service lists a prefix that holds the address, and doesn't mean it.
    NotMeant,
    Enforced,
    Audited,
    /// No leak names the VRF.
    Unnamed,

    // What becomes of one that isn't let in.
    NobodyListens,
    UnboundIsKeptFrom,
    VrfListenerGoesOn,
    SlaveListenerGoesOn,
    /// Refused, because the kernel would prefer an unbound socket.
    VrfListenerBesideUnbound,
    /// Refused, because an unbound socket might get it.
    SlaveListenerBesideUnbound,
    /// The same, although the kernel would prefer the one of the slave.
    SlaveListenerOnAddressBesideUnbound,

    // How it ends.
    Reached,
    Refused,
    /// An unbound socket gets it, because the VRF is audited.
    ReachedByAudit,

    // Who gets it.
    OnAddress,
    OnMappedAddress,
    OnBothFamiliesByIpv4,
    OnBothFamiliesByIpv6,
    OnOneFamily,
    Unbound,
    BoundToVrf,
    BoundToSlave,

    // Where it goes to, and whether it gets there.
    ReachedMain,
    RefusedMain,
    ReachedWhole,
    RefusedWhole,
    ReachedWholeOfVrf,
    RefusedWholeOfVrf,
    ReachedOwn,
    RefusedOwn,
    /// An address of another slave than it came in by.
    ReachedOther,
    RefusedOther,
    ReachedLinkLocalIpv4,
    RefusedLinkLocalIpv4,
    ReachedLinkLocalIpv6,
    RefusedLinkLocalIpv6,
    ReachedLinkLocalPastVrf,
    RefusedLinkLocalPastVrf,
    ReachedLoopback,
    RefusedLoopback,
    ReachedLoopbackOfVrf,
    RefusedLoopbackOfVrf,

    // Where an unbound socket gets it by a rule.
    MainByRule,
    WholeByRule,
    OwnByRule,
    LinkLocalIpv4ByRule,
    LinkLocalIpv6ByRule,
    LoopbackOfVrfByRule,
    /// What no rule opens, although a service lists a prefix around it.
    WholeOfVrfNotMeant,

    // What it is, and who sends it.
    TcpIpv4,
    TcpIpv6,
    UdpIpv4,
    UdpIpv6,
    FromBehind,
    FromUnbound,
    FromVrf,
    FromSlave,
}

/// Everything there is to a packet.
pub fn tags(packet: &Packet, foretold: &Foretold, listeners: &[Listener]) -> Vec<Tag> {
    let mut tags = foretold.tags.clone();
    let winner = foretold.reached.map(|place| listeners[place]);
    tags.extend(winner.map_or_else(|| vec![Tag::Refused], |it| of_listener(it, packet)));
    if tags.contains(&Tag::Audited) && tags.contains(&Tag::Unbound) {
        tags.push(Tag::ReachedByAudit);
    }
    let [reached, refused] = of_destination(packet);
    tags.push(if winner.is_some() { reached } else { refused });
    if tags.contains(&Tag::ByRule) && tags.contains(&Tag::Unbound) {
        tags.extend(by_rule(reached));
    }
    if tags.contains(&Tag::NotMeant) && reached == Tag::ReachedWholeOfVrf {
        tags.push(Tag::WholeOfVrfNotMeant);
    }
    let ipv4 = packet.to.address.is_ipv4();
    tags.push(match packet.protocol {
        Protocol::Tcp if ipv4 => Tag::TcpIpv4,
        Protocol::Tcp => Tag::TcpIpv6,
        Protocol::Udp if ipv4 => Tag::UdpIpv4,
        Protocol::Udp => Tag::UdpIpv6,
    });
    tags.push(match packet.client {
        Client::Behind { .. } => Tag::FromBehind,
        Client::Unbound => Tag::FromUnbound,
        Client::OnVrf(_) => Tag::FromVrf,
        Client::OnSlave(_) => Tag::FromSlave,
    });
    tags
}

fn of_listener(listener: Listener, packet: &Packet) -> Vec<Tag> {
    let on = match listener.on {
        On::Everything if packet.to.address.is_ipv4() => Tag::OnBothFamiliesByIpv4,
        On::Everything => Tag::OnBothFamiliesByIpv6,
        On::EverythingOfIpv4 | On::EverythingOfIpv6 => Tag::OnOneFamily,
        On::Address(_) => Tag::OnAddress,
        On::Mapped(_) => Tag::OnMappedAddress,
    };
    let bound = match listener.bound {
        Bound::Nothing => Tag::Unbound,
        Bound::Vrf(_) => Tag::BoundToVrf,
        Bound::Slave(_) => Tag::BoundToSlave,
    };
    vec![Tag::Reached, on, bound]
}

/// What it is that the packet reaches its destination, and that it doesn't.
fn of_destination(packet: &Packet) -> [Tag; 2] {
    match packet.to.kind {
        Kind::Main => [Tag::ReachedMain, Tag::RefusedMain],
        Kind::Whole => [Tag::ReachedWhole, Tag::RefusedWhole],
        Kind::WholeOfVrf(_) => [Tag::ReachedWholeOfVrf, Tag::RefusedWholeOfVrf],
        Kind::Own(_) if is_special(packet.to.address) => {
            [Tag::ReachedLinkLocalIpv4, Tag::RefusedLinkLocalIpv4]
        }
        Kind::Own(own) => match packet.client {
            Client::Behind { slave, .. } if slave != own => [Tag::ReachedOther, Tag::RefusedOther],
            _ => [Tag::ReachedOwn, Tag::RefusedOwn],
        },
        Kind::OnTheLink(_) if packet.way().is_none() => {
            [Tag::ReachedLinkLocalPastVrf, Tag::RefusedLinkLocalPastVrf]
        }
        Kind::OnTheLink(_) => [Tag::ReachedLinkLocalIpv6, Tag::RefusedLinkLocalIpv6],
        Kind::Loopback => [Tag::ReachedLoopback, Tag::RefusedLoopback],
        Kind::LoopbackOfVrf(_) => [Tag::ReachedLoopbackOfVrf, Tag::RefusedLoopbackOfVrf],
    }
}

/// What it is that a packet reaches its destination by a rule, where a rule can open that.
fn by_rule(reached: Tag) -> Option<Tag> {
    Some(match reached {
        Tag::ReachedMain => Tag::MainByRule,
        Tag::ReachedWhole => Tag::WholeByRule,
        Tag::ReachedOwn => Tag::OwnByRule,
        Tag::ReachedLinkLocalIpv4 => Tag::LinkLocalIpv4ByRule,
        Tag::ReachedLinkLocalIpv6 => Tag::LinkLocalIpv6ByRule,
        Tag::ReachedLoopbackOfVrf => Tag::LoopbackOfVrfByRule,
        _ => return None,
    })
}

/// How many packets of each kind there were.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<Tag, usize>);

impl Tally {
    pub fn add(&mut self, plan: &Plan) {
        for (packet, foretold) in &plan.packets {
            for tag in tags(packet, foretold, &plan.listeners) {
                *self.0.entry(tag).or_default() += 1;
            }
        }
    }

    /// Kinds of which there was none.
    pub fn missing(&self) -> Vec<Tag> {
        let missing = ALL.iter().filter(|tag| !self.0.contains_key(tag));
        missing.copied().collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(tag, count)| format!("{tag:?} {count}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}
