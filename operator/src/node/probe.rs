//! Asks the kernel for everything that decides one packet's fate. Only asks: `explain` judges the answers.

use std::{collections::BTreeSet, io, net::IpAddr};

use vrfgate_core::{LinkKind, Protocol};
use vrfgate_ebpf::{
    Error, Gate, L3mdevAccept, Netns, SocketsInSight, Store, Unlisted,
    netlink::{self, links},
    sockets_in_sight,
};

use self::answers::{no_way, policy_rule, route_fact};
use super::{
    FactsError, LeakState, Report, Watcher,
    kernel::{FIB_MATCH, Filter, LOOKUP_TABLE, Lookup, routes, rules},
    processes,
};
use crate::facts::{Answer, Facts, NoWay, PolicyRule, Question, Replies, RouteFact, RuleAction};

mod answers;
mod beyond;

pub use beyond::OpenEnd;

/// `RTN_UNREACHABLE`, `RTN_PROHIBIT`, `RTN_BLACKHOLE`, `RTN_THROW`.
const DEAD_ENDS: [u8; 4] = [7, 8, 6, 9];

/// Why a packet's facts could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Netlink.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// Gate or sockets.
    #[error(transparent)]
    Gate(#[from] Error),
    /// Without the list of sockets, it isn't known which of them a packet would reach.
    #[error(transparent)]
    Unlisted(Unlisted),
    /// The report of a running `vrfgate`.
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
            sent_by(question, ifindex)
        } else {
            arrival_of(question, ifindex)
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
                    .route(reply_to(question, Some(ifindex), false))
                    .await?,
            ),
            vrf_from: Some(
                watcher
                    .route(reply_to(question, Some(ifindex), true))
                    .await?,
            ),
            main: Some(watcher.route(reply_to(question, None, false)).await?),
            main_from: Some(watcher.route(reply_to(question, None, true)).await?),
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
    let both = [Protocol::Tcp, Protocol::Udp];
    let SocketsInSight { sockets, unlisted } = sockets_in_sight(netns, &both)?;
    if unlisted.contains(&Unlisted(question.protocol)) {
        return Err(ProbeError::Unlisted(Unlisted(question.protocol)));
    }
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

/// The VRF stands in place of the slave, as in the kernel's own look-up.
fn arrival_of(question: &Question, vrf: u32) -> Lookup {
    Lookup {
        from: Some(question.from),
        input: Some(vrf),
        protocol: Some(question.protocol.number()),
        port: Some(question.to.port()),
        // As the route stands in its table.
        flags: FIB_MATCH,
        ..Lookup::of(question.to.ip())
    }
}

/// Of a socket on this host that is bound to the VRF.
fn sent_by(question: &Question, vrf: u32) -> Lookup {
    let to = question.to.ip();
    Lookup {
        input: None,
        output: Some(vrf),
        flags: if to.is_ipv4() { LOOKUP_TABLE } else { 0 },
        ..arrival_of(question, vrf)
    }
}

fn reply_to(question: &Question, vrf: Option<u32>, with_source: bool) -> Lookup {
    let to = question.from;
    Lookup {
        from: with_source.then_some(question.to.ip()),
        output: vrf,
        protocol: Some(question.protocol.number()),
        // IPv6 always returns the table, and refuses to be asked for it.
        flags: if to.is_ipv4() { LOOKUP_TABLE } else { 0 },
        ..Lookup::of(to)
    }
}

impl Watcher {
    async fn route(&self, lookup: Lookup) -> Result<Answer, FactsError> {
        self.ask("route", move |socket| match lookup.ask(socket) {
            Ok(Some(route)) => Ok(Answer::Route(route_fact(&route))),
            Ok(None) => Ok(Answer::None(NoWay::NoRoute)),
            Err(netlink::Error::Refused(error)) => Ok(Answer::None(no_way(&error))),
            Err(error) => Err(error),
        })
        .await
    }

    async fn policy_rules(&self, question: &Question) -> Result<Vec<PolicyRule>, FactsError> {
        let ipv4 = question.to.is_ipv4();
        let found = self.ask("policy rules", move |socket| rules(socket, ipv4));
        Ok(found.await?.into_iter().map(policy_rule).collect())
    }

    async fn links_down(&self) -> Result<BTreeSet<u32>, FactsError> {
        let links = self.ask("links", links).await?;
        Ok(links
            .iter()
            .filter(|link| !link.works)
            .map(|link| link.ifindex)
            .collect())
    }

    /// Routes that end a look-up for an address. The kernel does the choosing: they are few, and the other
    /// routes of a table may be a million.
    async fn dead_ends(
        &self,
        tables: BTreeSet<u32>,
        address: IpAddr,
    ) -> Result<Vec<RouteFact>, FactsError> {
        self.ask("routes that end a look-up", move |socket| {
            let mut found = Vec::new();
            for table in tables {
                for kind in DEAD_ENDS {
                    let filter = Filter {
                        table,
                        kind,
                        protocol: 0,
                    };
                    found.extend(routes(socket, address.is_ipv4(), filter, |route| {
                        let holds = route.destination.contains(&address);
                        holds.then(|| route_fact(&route))
                    })?);
                }
            }
            Ok(found)
        })
        .await
    }
}
