//! The facts of a network namespace by rtnetlink: a snapshot, and word that it is out of date.

use std::{
    future::ready,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream::Stream};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoData, InfoKind, InfoVrf, LinkAttribute, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAttribute, RuleMessage},
};
use rtnetlink::{
    Handle, IpVersion, MulticastGroup, RouteMessageBuilder, new_connection,
    new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    sys::AsyncSocket as _,
};
use tokio::task::JoinHandle;
use vrfgate_ebpf::Netns;

use super::{
    routes::{self, RouteOutcome},
    steer::{self, MarkUser, SteerError, SteerOutcome},
};
use crate::compile::{
    Link, LinkKind, LocalAddress, LocalPrefix, MarkMask, NodeFacts, Prefix, SteeredVrf, WantedRoute,
};

/// `RT_TABLE_LOCAL` of `<linux/rtnetlink.h>`.
const LOCAL_TABLE: u8 = 255;

/// Why the facts of a namespace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The namespace could not be entered, or a netlink socket not be opened in it.
    #[error("opening a netlink socket in {netns}: {cause}")]
    Socket {
        /// The namespace.
        netns: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// The kernel did not answer a request for a list.
    #[error("asking the kernel for the {what} of {netns}: {cause}")]
    Dump {
        /// What was asked for.
        what: &'static str,
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        cause: Box<rtnetlink::Error>,
    },
}

/// A netlink connection into one namespace, subscribed to everything the facts depend on.
pub struct Watcher {
    netns: Netns,
    pub(super) handle: Handle,
    changes: Box<dyn Stream<Item = Change> + Send + Sync + Unpin>,
    /// The two sockets, at work.
    connections: [JoinHandle<()>; 2],
}

/// What has changed in a namespace, as far as it matters before everything is looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Devices that are new, or told of again: a VRF and its slaves are open until the gate knows them.
    pub links: Vec<Link>,
    /// Policy rules came or went.
    pub rules: bool,
}

impl Watcher {
    /// Subscribes first, so that no change between a snapshot and the next goes unnoticed. Must be called
    /// within a Tokio runtime.
    pub fn new(netns: &Netns) -> Result<Self, FactsError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns.run(|| {
            let _context = runtime.enter();
            let changes = new_multicast_connection(&[
                MulticastGroup::Link,
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv6Ifaddr,
                MulticastGroup::Ipv4Route,
                MulticastGroup::Ipv6Route,
                MulticastGroup::Ipv4Rule,
                MulticastGroup::Ipv6Rule,
            ])?;
            Ok((changes, new_connection()?))
        });
        let socket_error = |cause| FactsError::Socket {
            netns: netns.to_string(),
            cause,
        };
        // Questions have a socket of their own: a flood of changes may cost us changes, which are looked for
        // then, but no answer, which would be waited for without end.
        let ((changes, _, messages), (mut questions, handle, _)) =
            opened.and_then(|result| result).map_err(socket_error)?;
        // Lets the kernel, not us, leave out the routes of others: a host may have a million.
        questions
            .socket_mut()
            .socket_mut()
            .set_netlink_get_strict_chk(true)
            .map_err(socket_error)?;
        let connections = [tokio::spawn(changes), tokio::spawn(questions)];
        let relevant = messages.filter_map(|(message, _)| ready(change(&message)));
        Ok(Self {
            netns: netns.clone(),
            handle,
            changes: Box::new(relevant),
            connections,
        })
    }

    /// Closes the sockets, and returns when they are: until then, they keep their namespace alive.
    pub async fn close(self) {
        for connection in self.connections {
            connection.abort();
            // That it was aborted is no news.
            let _ = connection.await;
        }
    }

    /// What the namespace looks like now.
    pub async fn facts(&self) -> Result<NodeFacts, FactsError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|cause| self.dump("links", cause))?;
        let addresses: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|cause| self.dump("addresses", cause))?;
        Ok(NodeFacts {
            links: links.iter().map(link).collect(),
            addresses: addresses.iter().filter_map(local_address).collect(),
            prefixes: self.local_prefixes().await?,
        })
    }

    async fn local_prefixes(&self) -> Result<Vec<LocalPrefix>, FactsError> {
        let mut prefixes = Vec::new();
        for mut filter in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            // The kernel leaves out whatever differs from what is set here (strict checking).
            filter.header.table = LOCAL_TABLE;
            filter.header.kind = RouteType::Local;
            filter.header.protocol = RouteProtocol::Unspec;
            filter.header.scope = RouteScope::Universe;
            let routes: Vec<RouteMessage> = self
                .handle
                .route()
                .get(filter)
                .execute()
                .try_collect()
                .await
                .map_err(|cause| self.dump("local prefixes", cause))?;
            prefixes.extend(routes.iter().filter_map(local_prefix));
        }
        Ok(prefixes)
    }

    /// The preferences of the policy rules that look up the `local` table, of IPv4 and IPv6. 0 unless somebody
    /// moved them behind the VRFs.
    pub async fn local_rule_preferences(&self) -> Result<[Option<u32>; 2], FactsError> {
        Ok([
            self.local_rule_preference(IpVersion::V4).await?,
            self.local_rule_preference(IpVersion::V6).await?,
        ])
    }

    async fn local_rule_preference(&self, version: IpVersion) -> Result<Option<u32>, FactsError> {
        let rules: Vec<RuleMessage> = self
            .handle
            .rule()
            .get(version)
            .execute()
            .try_collect()
            .await
            .map_err(|cause| self.dump("policy rules", cause))?;
        Ok(rules
            .iter()
            .filter(|rule| {
                rule.header.table == LOCAL_TABLE
                    || rule
                        .attributes
                        .contains(&RuleAttribute::Table(LOCAL_TABLE.into()))
            })
            .map(preference)
            .min())
    }

    /// Waits until something changed since the last call, however much it was. `None` when the connection
    /// is lost and a new [`Watcher`] is needed.
    pub async fn changed(&mut self) -> Option<Change> {
        let mut all = self.changes.next().await?;
        while let Some(Some(Change { links, rules })) = self.changes.next().now_or_never() {
            all.links.extend(links);
            all.rules |= rules;
        }
        Some(all)
    }

    /// Brings the routes of leaks to what is wanted; see [`RouteOutcome`] for what became of them.
    pub async fn reconcile_routes(
        &self,
        wanted: &[WantedRoute],
    ) -> Result<RouteOutcome, FactsError> {
        routes::reconcile(&self.handle, wanted)
            .await
            .map_err(|cause| self.dump("leak routes", cause))
    }

    /// Removes every route that vrfgate made in the namespace. Returns how many there were.
    pub async fn clear_routes(&self) -> Result<usize, FactsError> {
        self.reconcile_routes(&[])
            .await
            .map(|outcome| outcome.removed)
    }

    /// Brings reply steering to what is wanted; see [`SteerOutcome`] for what became of it.
    pub async fn reconcile_steering(
        &self,
        vrfs: &[SteeredVrf],
        mask: MarkMask,
    ) -> Result<SteerOutcome, FactsError> {
        steer::reconcile(&self.handle, &self.netns, vrfs, mask)
            .await
            .map_err(|cause| self.dump("policy rules of reply steering", cause))
    }

    /// Removes everything that steering made in the namespace. True when there was anything.
    pub async fn clear_steering(&self) -> Result<bool, SteerError> {
        steer::clear(&self.handle, &self.netns).await
    }

    /// Others who look at the bits of marks that steering is to use, or change them.
    pub async fn mark_users(&self, mask: MarkMask) -> Result<Vec<MarkUser>, FactsError> {
        steer::mark_users(&self.handle, &self.netns, mask)
            .await
            .map_err(|cause| self.dump("policy rules", cause))
    }

    pub(super) fn dump(&self, what: &'static str, cause: rtnetlink::Error) -> FactsError {
        FactsError::Dump {
            what,
            netns: self.netns.to_string(),
            cause: Box::new(cause),
        }
    }
}

/// Links and addresses always; of routes only that a whole prefix has become local, or is no more, and that
/// one of ours has gone. Others' routes come and go by the thousand where a routing daemon runs.
fn change(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    let mut change = Change::default();
    let NetlinkPayload::InnerMessage(message) = &message.payload else {
        // The kernel had more to say than the socket could hold.
        change.rules = true;
        return Some(change);
    };
    match message {
        RouteNetlinkMessage::NewRoute(route) => local_prefix(route).map(|_| change),
        RouteNetlinkMessage::DelRoute(route) => {
            (routes::is_ours(route) || local_prefix(route).is_some()).then_some(change)
        }
        RouteNetlinkMessage::NewLink(message) => {
            // A bridge tells of its ports, and of itself as if it were one, by messages of another family.
            if message.header.interface_family == AddressFamily::Unspec {
                change.links.push(link(message));
            }
            Some(change)
        }
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => {
            change.rules = true;
            Some(change)
        }
        _ => Some(change),
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        kind: LinkKind::Other,
        master: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(master) if *master != 0 => link.master = Some(*master),
            LinkAttribute::LinkInfo(info) => link.kind = kind(info),
            _ => {}
        }
    }
    link
}

fn kind(info: &[LinkInfo]) -> LinkKind {
    if !info.contains(&LinkInfo::Kind(InfoKind::Vrf)) {
        return LinkKind::Other;
    }
    let table = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vrf(data)) => data.iter().find_map(|datum| match datum {
            InfoVrf::TableId(table) => Some(*table),
            _ => None,
        }),
        _ => None,
    });
    LinkKind::Vrf { table }
}

/// What a route says is local as a whole. The route of a single address comes and goes with the address.
fn local_prefix(route: &RouteMessage) -> Option<LocalPrefix> {
    if route.header.table != LOCAL_TABLE || route.header.kind != RouteType::Local {
        return None;
    }
    let (mut ifindex, mut network) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(device) => ifindex = Some(*device),
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                network = Some(IpAddr::from(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                network = Some(IpAddr::from(*address));
            }
            _ => {}
        }
    }
    // The kernel leaves the destination of a default route unsaid.
    let network = match (network, route.header.address_family) {
        (Some(network), _) => network,
        (None, AddressFamily::Inet) => Ipv4Addr::UNSPECIFIED.into(),
        (None, AddressFamily::Inet6) => Ipv6Addr::UNSPECIFIED.into(),
        (None, _) => return None,
    };
    let net = IpNet::new(network, route.header.destination_prefix_length).ok()?;
    let prefix = Prefix::new(net).ok()?;
    (net.prefix_len() < net.max_prefix_len()).then_some(LocalPrefix {
        ifindex: ifindex?,
        prefix,
    })
}

fn local_address(message: &AddressMessage) -> Option<LocalAddress> {
    // Of a point-to-point IPv4 link, `Address` is the peer's and `Local` ours; elsewhere only one is there
    // or both are the same (rtnetlink(7)).
    let mut address: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => {
                address = Some(*local);
                break;
            }
            AddressAttribute::Address(other) => address = Some(*other),
            _ => {}
        }
    }
    match message.header.family {
        AddressFamily::Inet | AddressFamily::Inet6 => Some(LocalAddress {
            ifindex: message.header.index,
            address: address?,
        }),
        _ => None,
    }
}

pub(super) fn preference(rule: &RuleMessage) -> u32 {
    rule.attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Priority(preference) => Some(*preference),
            _ => None,
        })
        .unwrap_or(0)
}
