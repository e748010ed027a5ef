//! Which sockets can't share a port.

use super::*;

/// Inodes of the sockets that clash, unbound one first.
fn clashing(sockets: &[OpenSocket]) -> Vec<(u32, u32)> {
    clashes(sockets, &node(), &Processes::default())
        .iter()
        .map(|clash| (clash.unbound.inode, clash.bound.inode))
        .collect()
}

fn clash(one: OpenSocket, other: OpenSocket) -> bool {
    !clashing(&[one, other]).is_empty()
}

#[test]
fn addresses_clash_when_they_are_equal_or_one_covers_the_other() {
    let only_v6 = |socket: OpenSocket| OpenSocket {
        dual_stack: false,
        ..socket
    };
    for (unbound, bound, expected) in [
        ("0.0.0.0:22", "0.0.0.0:22", true),
        ("0.0.0.0:22", "10.0.0.1:22", true),
        ("192.0.2.1:22", "0.0.0.0:22", true),
        ("192.0.2.1:22", "192.0.2.1:22", true),
        ("192.0.2.1:22", "10.0.0.1:22", false),
        ("0.0.0.0:22", "0.0.0.0:23", false),
        ("[::]:22", "0.0.0.0:22", true),
        ("0.0.0.0:22", "[::]:22", true),
        ("[::]:22", "10.0.0.1:22", true),
        ("[2001:db8::1]:22", "[::]:22", true),
        ("[2001:db8::1]:22", "0.0.0.0:22", false),
    ] {
        let (unbound, bound) = (listener(1, unbound, None), listener(2, bound, Some(BLUE)));
        assert_eq!(
            clash(unbound.clone(), bound.clone()),
            expected,
            "{unbound:?} {bound:?}"
        );
    }
    assert!(!clash(
        only_v6(listener(1, "[::]:22", None)),
        listener(2, "0.0.0.0:22", Some(BLUE))
    ));
}

#[test]
fn only_an_unbound_and_a_vrf_bound_socket_clash() {
    let on = |inode, device| listener(inode, "0.0.0.0:22", device);
    for (one, other, expected) in [
        (None, Some(BLUE), true),
        (None, Some(BLUE2), true),
        (None, Some(RED1), true),
        // In no VRF, so that the kernel has kept them apart already; or the kernel never does.
        (None, Some(LAN), false),
        (None, None, false),
        (Some(BLUE), Some(RED), false),
        (Some(BLUE), Some(BLUE1), false),
        // A device that is gone.
        (None, Some(99), false),
    ] {
        assert_eq!(
            clash(on(1, one), on(2, other)),
            expected,
            "{one:?} {other:?}"
        );
    }
}

#[test]
fn protocols_are_apart_and_connected_sockets_clash_with_nobody() {
    let unbound = listener(1, "0.0.0.0:53", None);
    let bound = listener(2, "0.0.0.0:53", Some(BLUE));
    assert!(!clash(unbound.clone(), datagrams(&bound)));
    assert!(clash(datagrams(&unbound), datagrams(&bound)));
    let connected = OpenSocket {
        peer: Some("10.0.0.2:4000".parse().unwrap()),
        ..datagrams(&bound)
    };
    assert!(!clash(datagrams(&unbound), connected));
}

#[test]
fn every_pair_is_told_once_with_names_where_they_are_known() {
    let sockets = [
        listener(1, "[::]:22", None),
        listener(2, "0.0.0.0:22", Some(BLUE)),
        listener(3, "0.0.0.0:22", Some(RED1)),
    ];
    assert_eq!(clashing(&sockets), [(1, 2), (1, 3)]);

    let processes = Processes([(1, "sshd (process 7)".to_owned())].into());
    let said = clashes(&sockets, &node(), &processes)[1].to_string();
    assert!(
        said.contains("sshd (process 7) on * bound to no device"),
        "{said}"
    );
    assert!(said.contains("socket 3 on 0.0.0.0 bound to red1"), "{said}");
    assert!(said.contains("unless both set SO_REUSEPORT"), "{said}");
    assert!(said.contains("VRF RED"), "{said}");
}
