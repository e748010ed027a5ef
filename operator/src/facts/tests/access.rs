//! Which listeners are closed to a VRF by a change.

use std::collections::BTreeSet;

use vrfgate_core::{GatedVrf, LeakName, OpenService, PortRange, Posture, Protocol, ServiceName};

use super::*;

const OPEN: Access = Access::All {
    tcp: true,
    udp: false,
};

/// Services of an enforced VRF, as `port` on an address.
fn listing(services: &[(u16, &str)]) -> Access {
    let services = services.iter().map(|(port, address)| {
        let port = (*port).try_into().unwrap();
        OpenService {
            leak: "blue".parse::<LeakName>().unwrap(),
            service: "s".parse::<ServiceName>().unwrap(),
            protocol: Protocol::Tcp,
            ports: PortRange::new(port, port).unwrap(),
            addresses: address.parse().into_iter().collect(),
            prefixes: address.parse().into_iter().collect(),
            sources: Vec::new(),
            unmatched: Vec::new(),
        }
    });
    let vrf = GatedVrf {
        name: "BLUE".into(),
        ifindex: BLUE,
        slaves: vec![BLUE1, BLUE2],
        posture: Posture::Enforced,
        services: services.collect(),
    };
    Access::asked_for(&vrf, L3mdevAccept::default(), false)
}

fn told(sockets: &[OpenSocket], before: &Access, after: &Access) -> Vec<String> {
    let reachable: BTreeSet<IpAddr> = ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fe80::1"]
        .map(ip)
        .into();
    let found = closed(sockets, &reachable, before, after, &Processes::default());
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn unbound_listeners_that_nothing_lists_are_closed() {
    let sockets = [
        listener(1, "0.0.0.0:22", None),
        listener(2, "[::]:80", None),
        listener(3, "192.0.2.1:443", None),
        listener(4, "[2001:db8::1]:443", None),
    ];
    assert_eq!(
        told(&sockets, &OPEN, &listing(&[])),
        [
            "TCP port 22 of socket 1 on 0.0.0.0",
            "TCP port 80 of socket 2 on *",
            "TCP port 443 of socket 3 on 192.0.2.1",
            "TCP port 443 of socket 4 on 2001:db8::1",
        ]
    );
    assert_eq!(told(&sockets, &listing(&[]), &OPEN), [""; 0]);
    assert_eq!(told(&sockets, &OPEN, &OPEN), [""; 0]);
}

#[test]
fn what_no_client_of_the_vrf_could_reach_is_closed_to_nobody() {
    let mut connected = listener(5, "192.0.2.1:5000", None);
    connected.peer = Some("10.0.0.2:53".parse().unwrap());
    let sockets = [
        listener(1, "127.0.0.1:25", None),
        listener(2, "[::1]:25", None),
        listener(3, "0.0.0.0:179", Some(BLUE)),
        listener(4, "198.51.100.1:80", None),
        connected,
        datagrams(&listener(6, "0.0.0.0:53", None)),
    ];
    assert_eq!(told(&sockets, &OPEN, &listing(&[])), [""; 0]);
}

#[test]
fn a_listener_that_stays_open_elsewhere_is_told_with_where_it_is_closed() {
    let sockets = [listener(1, "0.0.0.0:22", None)];
    assert_eq!(
        told(&sockets, &OPEN, &listing(&[(22, "192.0.2.1")])),
        ["TCP port 22 of socket 1 on 0.0.0.0 (at 10.0.0.1 only)"]
    );
    let both = listing(&[(22, "192.0.2.1"), (22, "10.0.0.0/24")]);
    assert_eq!(told(&sockets, &OPEN, &both), [""; 0]);
}

#[test]
fn the_link_local_addresses_of_a_wildcard_are_nobodys_only_way_to_it() {
    let everything = listing(&[(22, "192.0.2.1"), (22, "10.0.0.1"), (22, "2001:db8::1")]);
    assert_eq!(
        told(&[listener(1, "[::]:22", None)], &OPEN, &everything),
        [""; 0]
    );
    assert_eq!(
        told(&[listener(1, "[fe80::1]:22", None)], &OPEN, &everything),
        ["TCP port 22 of socket 1 on fe80::1"]
    );
}

#[test]
fn sockets_that_share_a_port_are_told_once() {
    let sockets = [1, 2, 3].map(|inode| listener(inode, "0.0.0.0:80", None));
    assert_eq!(
        told(&sockets, &OPEN, &listing(&[])),
        ["TCP port 80 of socket 1 on 0.0.0.0"]
    );
}
