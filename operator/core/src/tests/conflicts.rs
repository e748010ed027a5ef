//! What leaks may not do to each other.

use super::{Leak, Mode, Service, leak, ports, tcp};
use crate::{Protocol, ReturnRoute, Route, check_set};

fn with_services(name: &str, vrf: &str, services: Vec<Service>) -> Leak {
    Leak {
        services,
        ..leak(name, vrf)
    }
}

fn with_route(name: &str, vrf: &str, prefix: &str) -> Leak {
    Leak {
        routes: vec![Route {
            prefix: prefix.parse().unwrap(),
            device: None,
            metric: None,
        }],
        ..leak(name, vrf)
    }
}

fn with_return_route(name: &str, vrf: &str, prefix: &str) -> Leak {
    Leak {
        return_routes: vec![ReturnRoute {
            prefix: prefix.parse().unwrap(),
            source: super::ip("192.0.2.1"),
        }],
        ..leak(name, vrf)
    }
}

fn told(leaks: &[Leak]) -> Vec<String> {
    check_set(leaks).iter().map(ToString::to_string).collect()
}

#[test]
fn leaks_that_keep_out_of_each_other_s_way_are_fine() {
    assert!(
        told(&[
            with_services("a", "BLUE", vec![tcp("ssh", 22, &["192.0.2.1/32"])]),
            with_services("b", "BLUE", vec![tcp("ssh", 23, &["192.0.2.1/32"])]),
            with_services("c", "BLUE", vec![tcp("ssh", 22, &["192.0.2.2/32"])]),
            with_services("d", "RED", vec![tcp("ssh", 22, &["192.0.2.1/32"])]),
            with_route("e", "BLUE", "192.0.2.0/24"),
            with_route("f", "RED", "192.0.2.0/24"),
            with_route("g", "BLUE", "192.0.2.0/25"),
            with_return_route("h", "BLUE", "10.0.0.0/24"),
            with_return_route("i", "RED", "10.0.1.0/24"),
        ])
        .is_empty()
    );
}

#[test]
fn a_service_is_opened_by_one_leak_only() {
    let wide = Service {
        ports: ports(1, 100),
        sources: vec!["10.0.0.0/8".parse().unwrap()],
        ..tcp("low", 1, &["198.51.100.0/24", "192.0.2.0/24"])
    };
    let narrow = tcp("ssh", 22, &["192.0.2.1/32"]);
    let leak = |name, service: &Service| with_services(name, "BLUE", vec![service.clone()]);
    assert_eq!(
        told(&[leak("a", &narrow), leak("b", &wide)]),
        [
            "leak b: service low opens 192.0.2.1/32 22/TCP to VRF BLUE, which service ssh of leak a opens already"
        ]
    );
    assert_eq!(
        told(&[leak("a", &wide), leak("b", &narrow)]),
        [
            "leak b: service ssh opens 192.0.2.1/32 22/TCP to VRF BLUE, which service low of leak a opens already"
        ]
    );
}

#[test]
fn services_of_different_protocols_do_not_meet() {
    let udp = Service {
        protocol: Protocol::Udp,
        ..tcp("dns", 53, &["192.0.2.1/32"])
    };
    assert!(
        told(&[
            with_services("a", "BLUE", vec![tcp("dns", 53, &["192.0.2.1/32"])]),
            with_services("b", "BLUE", vec![udp]),
        ])
        .is_empty()
    );
}

#[test]
fn a_wide_prefix_is_not_in_the_way_of_what_it_does_not_mean() {
    for (wide, narrow) in [
        ("0.0.0.0/0", "127.0.0.0/8"),
        ("0.0.0.0/0", "169.254.0.0/16"),
        ("168.0.0.0/6", "169.254.20.10/32"),
        ("::/0", "fe80::/10"),
        ("::/0", "::1/128"),
    ] {
        let wide = with_services("a", "BLUE", vec![tcp("ssh", 22, &[wide])]);
        let narrow = with_services("b", "BLUE", vec![tcp("ssh", 22, &[narrow])]);
        assert_eq!(told(&[wide.clone(), narrow.clone()]), [""; 0]);
        assert_eq!(told(&[narrow, wide]), [""; 0]);
    }
    let twice = |name| with_services(name, "BLUE", vec![tcp("ssh", 22, &["169.254.0.0/16"])]);
    assert_eq!(told(&[twice("a"), twice("b")]).len(), 1);
}

#[test]
fn leaks_of_a_vrf_agree_on_its_mode() {
    let audit = Leak {
        mode: Mode::Audit,
        ..leak("b", "BLUE")
    };
    let says = "leaks a and b disagree on VRF BLUE: spec.mode is Enforce in the first and Audit in the second";
    assert_eq!(told(&[leak("a", "BLUE"), audit.clone()]), [says]);
    assert_eq!(told(&[audit.clone(), leak("a", "BLUE")]), [says]);
    assert!(told(&[audit, leak("a", "RED")]).is_empty());
}

#[test]
fn a_leak_route_is_made_by_one_leak_only() {
    assert_eq!(
        told(&[
            with_route("a", "BLUE", "192.0.2.0/24"),
            with_route("b", "BLUE", "192.0.2.0/24"),
        ]),
        ["leaks a and b both make the leak route 192.0.2.0/24 in VRF BLUE"]
    );
}

#[test]
fn a_return_route_leads_to_one_vrf_only() {
    assert_eq!(
        told(&[
            with_return_route("a", "BLUE", "10.0.0.0/24"),
            with_return_route("b", "RED", "10.0.0.0/24"),
        ]),
        ["leaks a and b both make the return route 10.0.0.0/24"]
    );
}

#[test]
fn two_leaks_of_one_name_are_told_once() {
    assert_eq!(
        told(&[
            with_route("a", "BLUE", "192.0.2.0/24"),
            with_route("a", "BLUE", "192.0.2.0/24"),
        ]),
        ["leak a: another leak has the same name"]
    );
}
