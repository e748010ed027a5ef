//! Asks the kernel what decides one packet's fate. Asks only: what to make of the answers is `explain`'s.

use std::{collections::BTreeSet, io, net::IpAddr};

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    link::{LinkFlags, LinkMessage},
    route::{
        RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
    },
    rule::RuleMessage,
};
use rtnetlink::IpVersion;
use vrfgate_ebpf::{Error, Gate, L3mdevAccept, Netns, Store, open_sockets};

use self::answers::{no_way, policy_rule, route_fact};
use super::{FactsError, LeakState, Report, Watcher, processes};
use crate::{
    compile::LinkKind,
    explain::{Answer, Facts, NoWay, PolicyRule, Question, Replies, RouteFact, RuleAction},
};

mod answers;
mod beyond;

pub use beyond::OpenEnd;

/// Why a packet's facts could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Netlink.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// Gate or sockets.
    #[error(transparent)]
    Gate(#[from] Error),
    /// What a running `vrfgate` wrote down.
    #[error("reading the report on {netns}: {cause}")]
    Report {
        /// The namespace.
        netns: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// The switches.
    #[error("reading the l3mdev_accept sysctls of {netns}: {cause}")]
    Sysctls {
        /// The namespace.
        netns: String,
        /// The system's answer.
        cause: io::Error,
    },
}

/// Everything that decides the fate of a packet, gathered now.
pub async fn probe(store: &Store, netns: &Netns, question: &Question) -> Result<Facts, ProbeError> {
    let watcher = Watcher::new(netns)?;
    let node = watcher.facts().await?;
    let vrf = node.links.iter().find_map(|link| match link.kind {
        LinkKind::Vrf { table } if link.name == question.vrf.as_str() => {
            Some((link.ifindex, table))
        }
        _ => None,
    });
    let rules = watcher.policy_rules(question).await?;
    let (mut arrival, mut dead_ends, mut replies) = (None, Vec::new(), Replies::default());
    if let Some((ifindex, table)) = vrf {
        let lookup = if node.is_own(question.from, ifindex) {
            Lookup::sent(question, ifindex)
        } else {
            Lookup::arrival(question, ifindex)
        };
        let answer = watcher.route(lookup).await?;
        if let Answer::None(_) = answer {
            let tables = rules.iter().filter_map(|rule| match rule.action {
                RuleAction::Table(other) => Some(other),
                RuleAction::L3mdev => table,
                _ => None,
            });
            dead_ends = watcher
                .dead_ends(tables.collect(), question.to.ip())
                .await?;
        }
        arrival = Some(answer);
        replies = Replies {
            vrf: Some(
                watcher
                    .route(Lookup::reply(question, Some(ifindex), false))
                    .await?,
            ),
            vrf_from: Some(
                watcher
                    .route(Lookup::reply(question, Some(ifindex), true))
                    .await?,
            ),
            main: Some(watcher.route(Lookup::reply(question, None, false)).await?),
            main_from: Some(watcher.route(Lookup::reply(question, None, true)).await?),
        };
    }
    let (gate, gate_trouble) = match Gate::inspect(store, netns) {
        Ok(gate) => (gate, None),
        Err(error @ (Error::NotInForce { .. } | Error::OldLayout { .. })) => {
            (None, Some(error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    let report = Report::load(store, netns)
        .map_err(|cause| ProbeError::Report {
            netns: netns.to_string(),
            cause,
        })?
        .unwrap_or_default();
    let failed = report
        .leaks
        .iter()
        .filter(|leak| leak.state == LeakState::Failed && leak.vrf == question.vrf.as_str())
        .map(|leak| (leak.name.clone(), leak.notes.join("; ")));
    let failed = failed.collect();
    let steered = report
        .steering
        .and_then(|steering| steering.of(question.vrf.as_str()));
    let sockets = open_sockets(netns)?;
    let shown = sockets
        .iter()
        .filter(|socket| socket.port == question.to.port() && socket.protocol == question.protocol)
        .map(|socket| socket.inode);
    Ok(Facts {
        down: watcher.links_down().await?,
        processes: processes::of(&shown.collect()),
        node,
        rules,
        arrival,
        dead_ends,
        replies,
        steered,
        failed,
        gate,
        gate_trouble,
        accept: L3mdevAccept::read(netns).map_err(|cause| ProbeError::Sysctls {
            netns: netns.to_string(),
            cause,
        })?,
        sockets,
    })
}

/// A request of the kernel for a route, as `ip route get` makes it.
struct Lookup {
    to: IpAddr,
    from: Option<IpAddr>,
    input: Option<u32>,
    output: Option<u32>,
    protocol: u8,
    /// The port the packet is for; an answer's is not known.
    port: Option<u16>,
}

impl Lookup {
    /// The VRF in place of the slave: so the kernel itself looks up, by the time it does.
    fn arrival(question: &Question, vrf: u32) -> Self {
        Self {
            to: question.to.ip(),
            from: Some(question.from),
            input: Some(vrf),
            output: None,
            protocol: question.protocol.number(),
            port: Some(question.to.port()),
        }
    }

    /// Of a socket on this host that is bound to the VRF.
    fn sent(question: &Question, vrf: u32) -> Self {
        Self {
            input: None,
            output: Some(vrf),
            ..Self::arrival(question, vrf)
        }
    }

    fn reply(question: &Question, vrf: Option<u32>, with_source: bool) -> Self {
        Self {
            to: question.from,
            from: with_source.then_some(question.to.ip()),
            input: None,
            output: vrf,
            protocol: question.protocol.number(),
            port: None,
        }
    }

    fn message(&self) -> RouteMessage {
        let Self {
            to,
            from,
            input,
            output,
            protocol,
            port,
        } = self;
        let bits = if to.is_ipv4() { 32 } else { 128 };
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(*to),
            destination_prefix_length: bits,
            source_prefix_length: if from.is_some() { bits } else { 0 },
            protocol: RouteProtocol::Unspec,
            scope: RouteScope::Universe,
            kind: RouteType::Unspec,
            // Of a packet that comes in, the route as it stands in its table is of interest. IPv6 tells the
            // table unasked, and refuses to be asked.
            flags: match (input, to) {
                (Some(_), _) => RouteFlags::FibMatch,
                (None, IpAddr::V4(_)) => RouteFlags::LookupTable,
                (None, IpAddr::V6(_)) => RouteFlags::empty(),
            },
            ..RouteHeader::default()
        };
        message.attributes = [
            Some(RouteAttribute::Destination((*to).into())),
            from.map(|from| RouteAttribute::Source(from.into())),
            input.map(RouteAttribute::Iif),
            output.map(RouteAttribute::Oif),
            Some(RouteAttribute::IpProto(*protocol)),
            port.map(RouteAttribute::Dport),
        ]
        .into_iter()
        .flatten()
        .collect();
        message
    }
}

impl Watcher {
    async fn route(&self, lookup: Lookup) -> Result<Answer, FactsError> {
        let request = self.handle.route().get(lookup.message());
        match request.execute().try_next().await {
            Ok(Some(message)) => Ok(Answer::Route(route_fact(&message))),
            Ok(None) => Ok(Answer::None(NoWay::NoRoute)),
            Err(rtnetlink::Error::NetlinkError(message)) => {
                Ok(Answer::None(no_way(&message.to_io())))
            }
            Err(cause) => Err(self.dump("route", cause)),
        }
    }

    async fn policy_rules(&self, question: &Question) -> Result<Vec<PolicyRule>, FactsError> {
        let version = if question.to.is_ipv4() {
            IpVersion::V4
        } else {
            IpVersion::V6
        };
        let rules: Vec<RuleMessage> = self
            .handle
            .rule()
            .get(version)
            .execute()
            .try_collect()
            .await
            .map_err(|cause| self.dump("policy rules", cause))?;
        // The kernel dumps them in the order it asks them.
        Ok(rules.iter().map(policy_rule).collect())
    }

    async fn links_down(&self) -> Result<BTreeSet<u32>, FactsError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|cause| self.dump("links", cause))?;
        let works = LinkFlags::Up | LinkFlags::LowerUp;
        Ok(links
            .iter()
            .filter(|link| !link.header.flags.contains(works))
            .map(|link| link.header.index)
            .collect())
    }

    /// Routes that end a look-up for an address. The kernel does the choosing: they are few, and the other
    /// routes of a table may be a million.
    async fn dead_ends(
        &self,
        tables: BTreeSet<u32>,
        address: IpAddr,
    ) -> Result<Vec<RouteFact>, FactsError> {
        let mut found = Vec::new();
        for table in tables {
            for kind in [
                RouteType::Unreachable,
                RouteType::Prohibit,
                RouteType::BlackHole,
                RouteType::Throw,
            ] {
                let mut filter = RouteMessage::default();
                filter.header = RouteHeader {
                    address_family: family(address),
                    protocol: RouteProtocol::Unspec,
                    scope: RouteScope::Universe,
                    kind,
                    ..RouteHeader::default()
                };
                filter.attributes = vec![RouteAttribute::Table(table)];
                let dump: Result<Vec<RouteMessage>, _> = self
                    .handle
                    .route()
                    .get(filter)
                    .execute()
                    .try_collect()
                    .await;
                match dump {
                    Ok(routes) => found.extend(routes.iter().map(route_fact)),
                    // A table without a route doesn't exist.
                    Err(rtnetlink::Error::NetlinkError(message))
                        if message.to_io().kind() == io::ErrorKind::NotFound => {}
                    Err(cause) => return Err(self.dump("routes that end a look-up", cause)),
                }
            }
        }
        found.retain(|route| route.prefix.is_some_and(|prefix| prefix.contains(&address)));
        Ok(found)
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
