use std::collections::HashSet;

use proptest::prelude::*;
use vrfgate_ebpf::netlink::{Message, Messages};

use super::{
    changes::{Change, changes},
    *,
};

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(16 + body.len()).unwrap();
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &[0; 10],
        &body,
    ]
    .concat()
}

/// `RTM_NEWROUTE` (24) or `RTM_DELROUTE` (25) of `local 192.0.2.1 dev if3 table 10`.
fn route(kind: u16, protocol: u8) -> Vec<u8> {
    message(
        kind,
        &[
            &[2, 32, 0, 0, 10, protocol, 254, 2, 0, 0, 0, 0],
            &attribute(15, &10_u32.to_ne_bytes()),
            &attribute(1, &[192, 0, 2, 1]),
            &attribute(4, &3_u32.to_ne_bytes()),
        ],
    )
}

fn heard(datagram: &[u8], places: &[&str]) -> Vec<Change> {
    let places: HashSet<_> = places
        .iter()
        .map(|place| (10, place.parse().unwrap()))
        .collect();
    changes(datagram, &places)
}

fn anything() -> Change {
    Change {
        rules: true,
        routes: true,
        ..Change::default()
    }
}

#[test]
fn others_routes_are_a_change_where_ours_should_stand_and_nowhere_else() {
    const BGP: u8 = 186;
    const OURS: u8 = 118;
    let in_place = Change {
        routes: true,
        ..Change::default()
    };
    for kind in [24, 25] {
        let bgp = route(kind, BGP);
        assert_eq!(
            heard(&bgp, &["192.0.2.1/32"]),
            std::slice::from_ref(&in_place)
        );
        assert_eq!(heard(&bgp, &["192.0.2.0/24", "192.0.2.2/32"]), []);
    }
    assert_eq!(heard(&route(24, OURS), &["192.0.2.1/32"]), []);
    assert_eq!(heard(&route(25, OURS), &[]), [Change::default()]);
}

#[test]
fn what_cannot_be_read_is_a_change_of_anything_it_may_have_been() {
    let bgp = route(24, 186);
    assert_eq!(heard(&bgp[..bgp.len() - 3], &[]), [anything()], "cut off");
    assert_eq!(heard(&[1; 9], &[]), [anything()], "no header");
    let mut spoiled = route(24, 186);
    // The first attribute's length.
    spoiled[28] = 200;
    let routes = Change {
        routes: true,
        ..Change::default()
    };
    assert_eq!(heard(&spoiled, &[]), [routes]);
    let short_link = message(16, &[&[0; 4]]);
    assert_eq!(heard(&short_link, &[]), [Change::default()]);
}

#[test]
fn several_messages_of_one_datagram_are_all_heard() {
    let datagram = [
        route(24, 186),
        message(32, &[&[2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0]]),
        message(20, &[&[2, 24, 0, 0, 3, 0, 0, 0]]),
    ]
    .concat();
    assert_eq!(heard(&datagram, &["192.0.2.1/32"]).len(), 3);
    assert_eq!(heard(&datagram, &[]).len(), 2);
}

#[test]
fn a_route_of_several_next_hops_or_of_none_is_read() {
    let next_hop = |device: u32| [&[8, 0, 0, 0], &device.to_ne_bytes()[..]].concat();
    let hops = [next_hop(7), next_hop(8)].concat();
    let several = message(
        24,
        &[
            &[10, 0, 0, 0, 254, 186, 0, 1, 0, 0, 0, 0],
            &attribute(9, &hops),
            &attribute(6, &20_u32.to_ne_bytes()),
        ],
    );
    let read = |bytes: &[u8]| {
        let message: Message<'_> = Messages::of(bytes).next().unwrap().unwrap();
        Route::read(&message).unwrap().unwrap()
    };
    let route = read(&several);
    assert_eq!(route.destination.to_string(), "::/0");
    assert_eq!(
        (route.device, route.metric, route.table),
        (Some(7), 20, 254)
    );
    let none = message(24, &[&[2, 0, 0, 0, 10, 4, 0, 7, 0, 0, 0, 0]]);
    let route = read(&none);
    assert_eq!((route.kind, route.device), (7, None));
}

proptest! {
    #[test]
    fn no_datagram_makes_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        heard(&bytes, &["192.0.2.1/32"]);
    }

    #[test]
    fn no_body_makes_a_reader_panic(
        kind in prop::sample::select(vec![16_u16, 17, 20, 21, 24, 25, 32, 33]),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let datagram = message(kind, &[&body]);
        heard(&datagram, &["192.0.2.1/32"]);
        for message in Messages::of(&datagram).flatten() {
            let _ = Route::read(&message);
            let _ = Rule::read(&message);
        }
    }

    #[test]
    fn no_spoiled_byte_makes_a_reader_panic(at in 0..60_usize, byte in any::<u8>()) {
        let mut datagram = route(24, 186);
        let at = at % datagram.len();
        datagram[at] = byte;
        heard(&datagram, &["192.0.2.1/32"]);
    }
}
