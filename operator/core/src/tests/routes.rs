//! Which routes leaks make of a host's addresses.

use super::{super::*, host::Host, ip, leak};

/// `lan` (192.0.2.1, 192.0.2.2, an IPv6 address) in main, VRF BLUE (table 10) with a slave of its own address.
fn host() -> Host {
    Host::default()
        .device("lo")
        .address("127.0.0.1")
        .device("lan")
        .address("192.0.2.1")
        .address("192.0.2.2")
        .address("2001:db8:1::1")
        .vrf("BLUE")
        .slave("blue1", "BLUE")
        .address("192.0.2.9")
}

fn route(prefix: &str, device: Option<&str>) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        device: device.map(|name| name.parse().unwrap()),
        metric: None,
    }
}

/// The routes of a leak, as `table prefix way`.
fn routes(leak: Leak, host: &Host) -> Vec<String> {
    let desired = compile(&[leak], host.facts());
    let name = |ifindex: u32| {
        let link = host
            .facts()
            .links
            .iter()
            .find(|link| link.ifindex == ifindex);
        link.unwrap().name.clone()
    };
    let routes = desired.routes.iter().map(|route| {
        let way = match route.way {
            Way::Local { device } => format!("local {}", name(device)),
            Way::Device { device } => format!("dev {}", name(device)),
            Way::Return { vrf, source } => format!("dev {} src {source}", name(vrf)),
        };
        format!("{} {} {way}", route.key.table, route.key.prefix)
    });
    routes.collect()
}

#[test]
fn each_main_address_inside_the_prefix_becomes_a_local_route_and_no_other_does() {
    let blue = Leak {
        routes: vec![route("192.0.2.0/24", None)],
        ..leak("blue", "BLUE")
    };
    let expected = ["10 192.0.2.1/32 local lan", "10 192.0.2.2/32 local lan"];
    assert_eq!(routes(blue, &host()), expected);
}

#[test]
fn a_prefix_that_is_local_as_a_whole_becomes_one_local_route() {
    let host = host().device("dummy0").local_prefix("203.0.113.0/24");
    let blue = |prefix| Leak {
        routes: vec![route(prefix, Some("lan"))],
        ..leak("blue", "BLUE")
    };
    assert_eq!(
        routes(blue("203.0.113.0/24"), &host),
        ["10 203.0.113.0/24 local dummy0"]
    );
    assert_eq!(
        routes(blue("203.0.113.64/26"), &host),
        ["10 203.0.113.64/26 local dummy0"]
    );
    assert_eq!(
        routes(blue("203.0.112.0/23"), &host),
        [
            "10 203.0.112.0/23 dev lan",
            "10 203.0.113.0/24 local dummy0"
        ]
    );
}

#[test]
fn with_a_device_the_prefix_as_a_whole_is_routed_too() {
    let blue = Leak {
        routes: vec![route("2001:db8:1::/64", Some("lan"))],
        ..leak("blue", "BLUE")
    };
    let expected = [
        "10 2001:db8:1::/64 dev lan",
        "10 2001:db8:1::1/128 local lan",
    ];
    assert_eq!(routes(blue, &host()), expected);
}

#[test]
fn an_address_that_is_leaked_alone_stays_local_even_with_a_device() {
    let blue = Leak {
        routes: vec![route("192.0.2.1/32", Some("lan"))],
        ..leak("blue", "BLUE")
    };
    assert_eq!(routes(blue, &host()), ["10 192.0.2.1/32 local lan"]);
}

#[test]
fn loopback_and_link_local_addresses_are_not_leaked_by_a_prefix_that_happens_to_hold_them() {
    let host = host()
        .device("nodelocaldns")
        .address("169.254.20.10")
        .address("fe80::1")
        .local_prefix("169.254.0.0/15");
    let blue = |prefix| Leak {
        routes: vec![route(prefix, None)],
        ..leak("blue", "BLUE")
    };
    assert_eq!(
        routes(blue("0.0.0.0/0"), &host),
        [
            "10 169.255.0.0/16 local nodelocaldns",
            "10 192.0.2.1/32 local lan",
            "10 192.0.2.2/32 local lan"
        ]
    );
    assert_eq!(
        routes(blue("::/0"), &host),
        ["10 2001:db8:1::1/128 local lan"]
    );
    assert_eq!(
        routes(blue("169.254.20.10/32"), &host),
        ["10 169.254.20.10/32 local nodelocaldns"]
    );
}

#[test]
fn a_return_route_leads_into_the_vrf_from_the_main_table() {
    let blue = |source: &str| Leak {
        return_routes: vec![ReturnRoute {
            prefix: "10.0.0.0/24".parse().unwrap(),
            source: ip(source),
        }],
        ..leak("blue", "BLUE")
    };
    let expected = ["254 10.0.0.0/24 dev BLUE src 192.0.2.1"];
    assert_eq!(routes(blue("192.0.2.1"), &host()), expected);

    let elsewhere = compile(&[blue("192.0.2.77")], host().facts());
    assert_eq!(elsewhere.routes, []);
    assert_eq!(elsewhere.unmade_routes.len(), 1);
}

#[test]
fn a_leak_without_its_vrf_or_its_device_makes_what_it_can() {
    let red = Leak {
        routes: vec![route("192.0.2.0/24", None)],
        ..leak("red", "RED")
    };
    assert_eq!(routes(red, &host()), [""; 0]);

    let blue = Leak {
        routes: vec![
            route("192.0.2.1/32", None),
            route("198.51.100.0/24", Some("wan")),
        ],
        ..leak("blue", "BLUE")
    };
    let desired = compile(&[blue], host().facts());
    assert_eq!(desired.routes.len(), 1);
    assert!(desired.unmade_routes[0].reason.contains("wan"));
}
