//! Which answers are steered, and by which marks.

use std::collections::BTreeMap;

use super::{super::*, host::Host, ip, leak, ports, tcp};

/// `lan` with 192.0.2.1 in main; VRFs BLUE (with two slaves) and RED, each with the table that
/// [`Host::vrf`] gives.
fn host() -> Host {
    Host::default()
        .device("lan")
        .address("192.0.2.1")
        .vrf("BLUE")
        .slave("blue1", "BLUE")
        .address("10.0.0.1")
        .address("fe80::1")
        .slave("blue2", "BLUE")
        .vrf("RED")
        .slave("red1", "RED")
}

fn udp(name: &str, port: u16, addresses: &[&str]) -> Service {
    Service {
        protocol: Protocol::Udp,
        ports: ports(port, port),
        ..tcp(name, port, addresses)
    }
}

fn steering(name: &str, vrf: &str, services: Vec<Service>) -> Leak {
    Leak {
        replies: Replies::Steer,
        services,
        ..leak(name, vrf)
    }
}

fn mask(text: &str) -> MarkMask {
    text.parse().unwrap()
}

/// A steered VRF of which only the table counts.
fn vrf(name: &str, table: u32) -> SteeredVrf {
    SteeredVrf {
        name: name.to_owned(),
        ifindex: table,
        table,
        ingress: [table].into(),
        services: Vec::new(),
        among_clients: [].into(),
    }
}

/// The marks of VRFs, by table.
fn marks(steering: &Steering) -> BTreeMap<u32, u32> {
    let marks = steering.vrfs.iter();
    marks
        .map(|marked| (marked.vrf.table, marked.mark))
        .collect()
}

#[test]
fn only_open_udp_services_of_leaks_that_steer_are_steered() {
    let address = &["192.0.2.1/32"];
    let leaks = [
        steering(
            "blue",
            "BLUE",
            vec![
                udp("dns", 53, address),
                tcp("ssh", 22, address),
                udp("elsewhere", 123, &["198.51.100.1/32"]),
            ],
        ),
        Leak {
            services: vec![udp("ntp", 123, address)],
            ..leak("more", "BLUE")
        },
        Leak {
            services: vec![udp("dns", 53, address)],
            ..leak("red", "RED")
        },
    ];
    let host = host();

    let steered = compile(&leaks, host.facts()).steered;

    let [blue] = steered.as_slice() else {
        panic!("{steered:?}");
    };
    assert_eq!(blue.name, "BLUE");
    let services = blue.services.iter().map(|service| service.service.as_str());
    assert_eq!(services.collect::<Vec<_>>(), ["dns"]);
    let ingress = ["BLUE", "blue1", "blue2"].map(|name| host.ifindex(name));
    assert_eq!(blue.ingress, ingress.into());
    assert_eq!(blue.among_clients, [ip("10.0.0.1")].into());
    assert!(blue.has_family(true) && !blue.has_family(false));
}

#[test]
fn a_vrf_keeps_the_mark_in_force_whatever_comes_and_goes() {
    let mask = MarkMask::default();
    let all = [vrf("A", 10), vrf("B", 20), vrf("C", 30)];
    let first = Steering::assign(&all, mask, &BTreeMap::new());
    assert_eq!(marks(&first), [(10, 0x7f), (20, 0x7e), (30, 0x7d)].into());

    let fewer = Steering::assign(&all[1..], mask, &marks(&first));
    assert_eq!(marks(&fewer), [(20, 0x7e), (30, 0x7d)].into());

    let newcomer = [vrf("Z", 5), vrf("B", 20), vrf("C", 30)];
    let later = Steering::assign(&newcomer, mask, &marks(&fewer));
    assert_eq!(marks(&later), [(5, 0x7f), (20, 0x7e), (30, 0x7d)].into());
}

#[test]
fn no_two_tables_share_a_mark_even_where_what_is_in_force_says_so() {
    let both = [vrf("A", 10), vrf("B", 20)];
    let in_force = [(10, 0x7f), (20, 0x7f)].into();
    let steering = Steering::assign(&both, MarkMask::default(), &in_force);
    assert_eq!(marks(&steering), [(10, 0x7f), (20, 0x7e)].into());
}

#[test]
fn vrfs_of_one_table_share_its_mark() {
    let both = [vrf("A", 10), vrf("B", 10)];
    let steering = Steering::assign(&both, MarkMask::default(), &BTreeMap::new());
    let zones: Vec<u16> = steering.vrfs.iter().map(|marked| marked.zone).collect();
    assert_eq!(zones[0], zones[1]);
    assert_eq!(marks(&steering), [(10, 0x7f)].into());
}

#[test]
fn a_mark_made_with_another_mask_is_not_kept() {
    let in_force = [(10, 0x7f)].into();
    let steering = Steering::assign(&[vrf("A", 10)], mask("0xff0000"), &in_force);
    assert_eq!(marks(&steering), [(10, 0xff_0000)].into());
}

#[test]
fn vrfs_that_the_mask_has_no_room_for_are_left_out_by_name() {
    let both = [vrf("A", 10), vrf("B", 20)];
    let steering = Steering::assign(&both, mask("0x10"), &BTreeMap::new());
    assert_eq!(marks(&steering), [(10, 0x10)].into());
    assert_eq!(steering.left_out, ["B"]);
}

#[test]
fn a_mask_is_bits_next_to_each_other() {
    for (text, room) in [
        ("0x7f", 127),
        ("127", 127),
        ("0x3000", 3),
        ("0x80000000", 1),
        ("0xff0000", 255),
        ("0xffffffff", 255),
    ] {
        assert_eq!(mask(text).room(), room, "{text}");
    }
    for (text, complaint) in [
        ("0", "without bits"),
        ("0x5", "gaps"),
        ("0xff00ff00", "gaps"),
        ("", "not a mask"),
        ("mask", "not a mask"),
        ("0x100000000", "not a mask"),
    ] {
        let error = text.parse::<MarkMask>().unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

#[test]
fn every_mark_lies_in_the_mask_and_none_is_zero() {
    for text in ["0x1", "0x7f", "0x3000", "0xff000000", "0xffffffff"] {
        let mask = mask(text);
        let vrfs: Vec<SteeredVrf> = (1..=mask.room()).map(|table| vrf("V", table)).collect();
        let steering = Steering::assign(&vrfs, mask, &BTreeMap::new());
        let marks = marks(&steering);
        let distinct: std::collections::BTreeSet<&u32> = marks.values().collect();
        assert_eq!(distinct.len(), vrfs.len(), "{text}");
        for mark in distinct {
            assert!(*mark != 0 && mark & !mask.bits() == 0, "{text}: {mark:#x}");
        }
    }
}
