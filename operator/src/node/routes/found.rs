//! One of our routes: as wanted, as the kernel has it, and as a request.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use vrfgate_core::{WantedRoute, Way};

use super::{PROTOCOL, Route};

/// `RTN_LOCAL` of `<linux/rtnetlink.h>`.
pub(super) const LOCAL: u8 = 2;

/// A route of ours as the kernel has it; enough to tell whether it is the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) table: u32,
    pub(super) destination: IpNet,
    pub(super) metric: u32,
    local: bool,
    device: u32,
    source: Option<IpAddr>,
}

/// What the kernel keeps one route for: table, destination, metric.
pub(super) type Place = (u32, IpNet, u32);

/// The metric a route gets. To IPv4, the default is 0, and nothing wins over it. To IPv6, 0 means `IP6_RT_PRIO_USER`,
/// which others' routes win over: those that FRR leaks have 20. Our local ones say the least there is.
fn metric(route: &WantedRoute) -> u32 {
    let metric = route.key.metric.unwrap_or(0);
    match (route.key.prefix.network(), route.way) {
        (IpAddr::V6(_), Way::Local { .. }) if metric == 0 => 1,
        (IpAddr::V6(_), _) if metric == 0 => 1024,
        _ => metric,
    }
}

pub(super) fn as_found(route: &WantedRoute) -> Found {
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
        metric: metric(route),
        local,
        device,
        source,
    }
}

impl From<&Route> for Found {
    fn from(route: &Route) -> Self {
        Self {
            table: route.table,
            destination: route.destination,
            metric: route.metric,
            local: route.kind == LOCAL,
            device: route.device.unwrap_or(0),
            source: route.source,
        }
    }
}

impl Found {
    pub(super) fn place(&self) -> Place {
        (self.table, self.destination, self.metric)
    }

    /// Whether it is of IPv4, and its table.
    pub(super) fn family_table(&self) -> (bool, u32) {
        (self.destination.addr().is_ipv4(), self.table)
    }

    /// To make it or to remove it.
    pub(super) fn message(&self) -> RouteMessage {
        let ipv4 = self.destination.addr().is_ipv4();
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: if ipv4 {
                AddressFamily::Inet
            } else {
                AddressFamily::Inet6
            },
            destination_prefix_length: self.destination.prefix_len(),
            // The number is in an attribute.
            table: RouteHeader::RT_TABLE_UNSPEC,
            protocol: RouteProtocol::from(PROTOCOL),
            scope: match (ipv4, self.local) {
                (true, true) => RouteScope::Host,
                (true, false) => RouteScope::Link,
                (false, _) => RouteScope::Universe,
            },
            kind: if self.local {
                RouteType::Local
            } else {
                RouteType::Unicast
            },
            ..RouteHeader::default()
        };
        message.attributes = vec![
            RouteAttribute::Table(self.table),
            RouteAttribute::Destination(self.destination.network().into()),
            RouteAttribute::Oif(self.device),
            RouteAttribute::Priority(self.metric),
        ];
        if let Some(source) = self.source {
            message
                .attributes
                .push(RouteAttribute::PrefSource(source.into()));
        }
        message
    }
}
