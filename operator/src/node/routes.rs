//! Makes and removes routes by rtnetlink. Owns every route of our protocol number in a namespace, and
//! touches no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::compile::{RouteKey, WantedRoute, Way};

/// By this protocol number our routes are known (`ip route show proto 118`). Not in use by any routing
/// daemon that iproute2's `rt_protos` knows.
pub const PROTOCOL: u8 = 118;

/// What became of the routes that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteOutcome {
    /// Routes made now.
    pub made: BTreeSet<RouteKey>,
    /// Routes of ours that nobody asks for any more, removed now.
    pub removed: usize,
    /// Routes that could not be made, and why.
    pub refused: BTreeMap<RouteKey, Refusal>,
}

/// Why a route is not there as we would make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A route of somebody else's stands in its place, and was left alone.
    SomebodyElses,
    /// The kernel's answer.
    Kernel(String),
}

/// A route of ours as the kernel has it; enough to tell whether it is the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    table: u32,
    destination: IpNet,
    metric: u32,
    local: bool,
    device: u32,
    source: Option<IpAddr>,
}

/// What the kernel keeps one route for: table, destination, metric.
type Place = (u32, IpNet, u32);

/// Brings our routes to what is wanted. New routes come before old ones go, but for old ones that stand in
/// a new one's place.
pub(super) async fn reconcile(
    handle: &Handle,
    wanted: &[WantedRoute],
) -> Result<RouteOutcome, rtnetlink::Error> {
    let wanted: BTreeMap<Found, &WantedRoute> = wanted
        .iter()
        .map(|route| (as_found(route), route))
        .collect();
    let places: BTreeSet<Place> = wanted.keys().map(Found::place).collect();
    let mut outcome = RouteOutcome::default();
    let mut present = BTreeSet::new();
    let mut stale = Vec::new();
    for (found, message) in ours(handle).await? {
        if wanted.contains_key(&found) {
            present.insert(found);
        } else if places.contains(&found.place()) {
            remove(handle, message).await?;
            outcome.removed += 1;
        } else {
            stale.push(message);
        }
    }
    for (as_found, route) in wanted {
        if present.contains(&as_found) {
            continue;
        }
        match handle.route().add(as_found.message()).execute().await {
            Ok(()) => {
                outcome.made.insert(route.key);
            }
            Err(error) => {
                outcome.refused.insert(route.key, refusal(&error));
            }
        }
    }
    for message in stale {
        remove(handle, message).await?;
        outcome.removed += 1;
    }
    Ok(outcome)
}

/// Whether a route belongs to us.
pub(super) fn is_ours(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::from(PROTOCOL)
}

/// Our routes in all tables. The kernel does the choosing, so a full table of a routing daemon costs nothing.
async fn ours(handle: &Handle) -> Result<Vec<(Found, RouteMessage)>, rtnetlink::Error> {
    let mut routes = Vec::new();
    for unspecified in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let mut filter = unspecified;
        filter.header.protocol = RouteProtocol::from(PROTOCOL);
        filter.header.table = 0;
        filter.header.scope = RouteScope::Universe;
        filter.header.kind = RouteType::Unspec;
        let dump: Vec<RouteMessage> = handle.route().get(filter).execute().try_collect().await?;
        routes.extend(
            dump.into_iter()
                .filter(is_ours)
                .filter_map(|message| Some((found(&message)?, message))),
        );
    }
    Ok(routes)
}

/// Whether a packet of this host's main domain would find a route to an address.
pub(super) async fn is_reachable(
    handle: &Handle,
    address: IpAddr,
) -> Result<bool, rtnetlink::Error> {
    let mut question = RouteMessage::default();
    (
        question.header.address_family,
        question.header.destination_prefix_length,
    ) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.attributes = vec![RouteAttribute::Destination(match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    })];
    let answer: Result<Vec<RouteMessage>, _> =
        handle.route().get(question).execute().try_collect().await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match errno(&error) {
            // `unreachable`, `prohibit` and `blackhole` routes, and none at all.
            Some(
                nix::Error::ENETUNREACH
                | nix::Error::EHOSTUNREACH
                | nix::Error::EACCES
                | nix::Error::EINVAL,
            ) => Ok(false),
            _ => Err(error),
        },
    }
}

async fn remove(handle: &Handle, message: RouteMessage) -> Result<(), rtnetlink::Error> {
    match handle.route().del(message).execute().await {
        // Gone already: with its device, its address, or by somebody's hand.
        Err(error) if errno(&error) == Some(nix::Error::ESRCH) => Ok(()),
        result => result,
    }
}

fn errno(error: &rtnetlink::Error) -> Option<nix::Error> {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            Some(nix::Error::from_raw(message.to_io().raw_os_error()?))
        }
        _ => None,
    }
}

fn refusal(error: &rtnetlink::Error) -> Refusal {
    match errno(error) {
        Some(nix::Error::EEXIST) => Refusal::SomebodyElses,
        Some(errno) => Refusal::Kernel(errno.desc().to_owned()),
        None => Refusal::Kernel(error.to_string()),
    }
}

/// The metric a route gets: to IPv4, the default is 0; to IPv6, it is `IP6_RT_PRIO_USER`, and 0 means it too.
fn metric(key: RouteKey) -> u32 {
    let metric = key.metric.unwrap_or(0);
    match key.prefix.network() {
        IpAddr::V6(_) if metric == 0 => 1024,
        _ => metric,
    }
}

fn as_found(route: &WantedRoute) -> Found {
    let (local, device, source) = match route.way {
        Way::Local { device } => (true, device, None),
        Way::Device { device } => (false, device, None),
        // To IPv6, an address of another device is no source of a route out of a VRF (`ip6_route_check_nh`
        // and kin: "Invalid source address").
        Way::Return { vrf, source } => (false, vrf, Some(source).filter(IpAddr::is_ipv4)),
    };
    Found {
        table: route.key.table,
        destination: route.key.prefix.into(),
        metric: metric(route.key),
        local,
        device,
        source,
    }
}

impl Found {
    fn place(&self) -> Place {
        (self.table, self.destination, self.metric)
    }

    fn message(&self) -> RouteMessage {
        match self.destination {
            IpNet::V4(destination) => {
                let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(destination.network(), destination.prefix_len())
                    .scope(if self.local {
                        RouteScope::Host
                    } else {
                        RouteScope::Link
                    });
                if let Some(IpAddr::V4(source)) = self.source {
                    builder = builder.pref_source(source);
                }
                self.finish(builder)
            }
            IpNet::V6(destination) => {
                let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(destination.network(), destination.prefix_len());
                if let Some(IpAddr::V6(source)) = self.source {
                    builder = builder.pref_source(source);
                }
                self.finish(builder)
            }
        }
    }

    fn finish<T>(&self, builder: RouteMessageBuilder<T>) -> RouteMessage {
        builder
            .table_id(self.table)
            .output_interface(self.device)
            .priority(self.metric)
            .protocol(RouteProtocol::from(PROTOCOL))
            .kind(if self.local {
                RouteType::Local
            } else {
                RouteType::Unicast
            })
            .build()
    }
}

fn found(message: &RouteMessage) -> Option<Found> {
    let mut table = u32::from(message.header.table);
    let mut destination = None;
    let mut metric = 0;
    let mut device = 0;
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(ifindex) => device = *ifindex,
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        _ => IpAddr::from([0; 16]),
    };
    let destination = destination.unwrap_or(unspecified);
    let length = message.header.destination_prefix_length;
    Some(Found {
        table,
        destination: IpNet::new(destination, length).ok()?,
        metric,
        local: message.header.kind == RouteType::Local,
        device,
        source,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
