use vrfgate_core::Protocol;

use super::*;

fn socket(cookie: u64, address: &str, port: u16) -> OpenSocket {
    let any_v6 = address == "*";
    OpenSocket {
        protocol: Protocol::Tcp,
        address: if any_v6 { "::" } else { address }.parse().unwrap(),
        port,
        device: None,
        dual_stack: any_v6,
        peer: None,
        cookie,
        inode: u32::try_from(cookie).unwrap(),
    }
}

fn shared(holders: &Holders) -> Vec<(u64, u64)> {
    let bound: Vec<&OpenSocket> = holders.bound.iter().collect();
    cookies(&pairs(&bound, &holders.unbound))
}

fn cookies(shared: &[SharedPort]) -> Vec<(u64, u64)> {
    let cookies = |shared: &SharedPort| (shared.bound.cookie, shared.unbound.cookie);
    shared.iter().map(cookies).collect()
}

#[test]
fn a_port_is_shared_where_two_want_packets_to_one_address() {
    for (bound, unbound, is_shared) in [
        ("0.0.0.0", "0.0.0.0", true),
        ("0.0.0.0", "192.0.2.1", true),
        ("192.0.2.1", "0.0.0.0", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("0.0.0.0", "*", true),
        ("*", "192.0.2.1", true),
        ("*", "2001:db8::1", true),
        ("::", "0.0.0.0", false),
        ("::", "::", true),
        ("2001:db8::1", "2001:db8::2", false),
    ] {
        let holders = Holders {
            bound: vec![socket(1, bound, 179)],
            unbound: vec![socket(2, unbound, 179), socket(3, unbound, 180)],
        };
        let expected: &[(u64, u64)] = if is_shared { &[(1, 2)] } else { &[] };
        assert_eq!(shared(&holders), expected, "{bound} and {unbound}");
    }
}

#[test]
fn all_pairs_of_all_ports_are_told_in_order() {
    let holders = Holders {
        bound: vec![
            socket(1, "0.0.0.0", 179),
            socket(2, "0.0.0.0", 22),
            socket(3, "0.0.0.0", 80),
        ],
        unbound: vec![
            socket(4, "*", 22),
            socket(5, "0.0.0.0", 179),
            socket(6, "192.0.2.1", 179),
        ],
    };
    assert_eq!(shared(&holders), [(2, 4), (1, 5), (1, 6)]);
}

#[test]
fn of_a_switch_only_sockets_from_before_and_those_after_are_dangerous_to_each_other() {
    let mut known = BoundUnder::default();
    let before = Holders {
        bound: vec![socket(1, "0.0.0.0", 179), socket(2, "0.0.0.0", 22)],
        unbound: vec![],
    };
    before.note_before(&mut known);
    assert!(known.any_before());

    // An unbound one, a bound one that came later, and a pair of which both did.
    let after = Holders {
        bound: vec![
            socket(1, "0.0.0.0", 179),
            socket(2, "0.0.0.0", 22),
            socket(3, "0.0.0.0", 22),
            socket(4, "0.0.0.0", 80),
        ],
        unbound: vec![socket(5, "0.0.0.0", 179), socket(6, "0.0.0.0", 80)],
    };
    assert_eq!(cookies(&after.poll(&mut known)), [(2, 3), (1, 5)]);
    let at_home = |cookie, value| known.is_at_home(&socket(cookie, "0.0.0.0", 1), value);
    assert!(at_home(1, false) && !at_home(1, true));
    assert!(at_home(4, true) && !at_home(4, false));

    let nobody = Holders {
        bound: vec![],
        unbound: vec![],
    };
    assert_eq!(nobody.poll(&mut known), []);
    assert_eq!(known, BoundUnder::default());
}
