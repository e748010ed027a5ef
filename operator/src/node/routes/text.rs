//! Routes as ip-route(8) prints them.

use std::fmt::Write as _;

use vrfgate_core::Link;

use super::Route;

/// `RT_TABLE_MAIN`
const MAIN: u32 = 254;

pub(super) fn route(route: &Route, links: &[Link]) -> String {
    let Route {
        table,
        destination,
        kind,
        protocol,
        scope,
        metric,
        device,
        gateway,
        source,
        cloned: _,
    } = route;
    let ipv4 = destination.addr().is_ipv4();
    // `RTN_*` of `<linux/rtnetlink.h>`; unicast goes without saying.
    let mut text = match kind {
        1 => String::new(),
        2 => "local ".to_owned(),
        6 => "blackhole ".to_owned(),
        7 => "unreachable ".to_owned(),
        8 => "prohibit ".to_owned(),
        9 => "throw ".to_owned(),
        other => format!("{other} "),
    };
    text += &match destination.prefix_len() {
        0 => "default".to_owned(),
        length if length == destination.max_prefix_len() => destination.addr().to_string(),
        _ => destination.to_string(),
    };
    // Writing into a string can't fail.
    if let Some(gateway) = gateway {
        let _ = write!(text, " via {gateway}");
    }
    if let Some(device) = device {
        let link = links.iter().find(|link| link.ifindex == *device);
        let _ = match link {
            Some(link) => write!(text, " dev {}", link.name),
            None => write!(text, " dev if{device}"),
        };
    }
    if *table != MAIN {
        let _ = write!(text, " table {table}");
    }
    let _ = write!(text, " proto {}", protocol_name(*protocol));
    match scope {
        _ if !ipv4 => {}
        253 => text += " scope link",
        254 => text += " scope host",
        _ => {}
    }
    if let Some(source) = source {
        let _ = write!(text, " src {source}");
    }
    if *metric != 0 {
        let _ = write!(text, " metric {metric}");
    }
    text
}

/// Who made a route: `/etc/iproute2/rt_protos`, and where FRR's are.
pub(super) fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        11 => "zebra",
        12 => "bird",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        84 => "ovn",
        99 => "openr",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        190 => "ripng",
        191 => "nhrp",
        192 => "eigrp",
        193 => "ldp",
        194 => "sharp",
        195 => "pbr",
        196 => "zstatic",
        197 => "openfabric",
        198 => "srte",
        other => return other.to_string(),
    };
    name.to_owned()
}
