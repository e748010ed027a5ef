//! Every decision of the gate's program, by `BPF_PROG_TEST_RUN` on the running kernel; `model.rs` tries random ones. A
//! test run has interface number 0, so the VRF under test is number 0. No VRF support is needed.

mod common;

use common::{Sandbox, from_sources, on_prefixes, packet, rule, vrf, vrfs};
use vrfgate_core::{
    Posture,
    Protocol::{self, Tcp, Udp},
    RuleSet,
};
use vrfgate_ebpf::Gate;

const PASS: u32 = 1;
const DROP: u32 = 0;

fn verdict(gate: &Gate, protocol: Protocol, local: &str, remote: &str) -> u32 {
    let packet = packet(protocol, local.parse().unwrap(), remote.parse().unwrap());
    gate.test_run(&packet, 1).unwrap().verdict
}

#[test]
fn a_packet_from_no_vrf_passes_whatever_the_rules() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&vrf(77, Posture::Enforced, vec![]));
    assert_eq!(verdict(&gate, Tcp, "192.0.2.1:80", "10.0.0.2:4000"), PASS);
}

#[test]
fn a_vrf_stays_closed_when_one_whose_ifindex_is_65536_higher_comes_and_goes() {
    let sandbox = Sandbox::new();
    let alone = vrf(0, Posture::Enforced, vec![]);
    let both = vrfs(
        [
            (0, "BLUE", Posture::Enforced, vec![]),
            (1 << 16, "RED", Posture::Enforced, vec![]),
        ],
        &[],
    );

    let mut gate = sandbox.attach(&alone);
    for rules in [&both, &alone, &both] {
        gate.apply(rules.clone()).unwrap();
        assert_eq!(
            verdict(&gate, Tcp, "192.0.2.1:80", "10.0.0.2:4000"),
            DROP,
            "{rules:?}"
        );
    }
    gate.apply(RuleSet::default()).unwrap();
    assert_eq!(verdict(&gate, Tcp, "192.0.2.1:80", "10.0.0.2:4000"), PASS);
}

#[test]
fn only_the_listed_address_port_and_protocol_get_in() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![
            rule("ssh", Tcp, 22..=22, &["192.0.2.1", "2001:db8::1"]),
            rule("dns", Udp, 53..=53, &["192.0.2.1"]),
        ],
    ));
    for (protocol, local, remote, expected) in [
        (Tcp, "192.0.2.1:22", "10.0.0.2:4000", PASS),
        (Tcp, "[2001:db8::1]:22", "[2001:db8:1::2]:4000", PASS),
        (Udp, "192.0.2.1:53", "10.0.0.2:4000", PASS),
        (Tcp, "192.0.2.1:80", "10.0.0.2:4000", DROP),
        (Tcp, "192.0.2.1:23", "10.0.0.2:22", DROP),
        (Tcp, "192.0.2.2:22", "10.0.0.2:4000", DROP),
        (Udp, "192.0.2.1:22", "10.0.0.2:4000", DROP),
        (Tcp, "192.0.2.1:53", "10.0.0.2:4000", DROP),
        (Udp, "[2001:db8::1]:53", "[2001:db8:1::2]:4000", DROP),
        (Tcp, "[2001:db8::2]:22", "[2001:db8:1::2]:4000", DROP),
    ] {
        assert_eq!(
            verdict(&gate, protocol, local, remote),
            expected,
            "{protocol} {local}"
        );
    }
}

#[test]
fn a_prefix_that_is_local_as_a_whole_opens_its_addresses_and_no_neighbour() {
    let sandbox = Sandbox::new();
    let nets = ["203.0.113.0/24", "2001:db8:53::/48"];
    let mut gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![
            on_prefixes(rule("web", Tcp, 8000..=8010, &["192.0.2.1"]), &nets),
            on_prefixes(rule("dns", Udp, 53..=53, &[]), &["::/0"]),
        ],
    ));
    for (protocol, local, remote, expected) in [
        (Tcp, "203.0.113.0:8000", "10.0.0.2:4000", PASS),
        (Tcp, "203.0.113.255:8010", "10.0.0.2:4000", PASS),
        (Tcp, "192.0.2.1:8007", "10.0.0.2:4000", PASS),
        (Tcp, "[2001:db8:53::7]:8001", "[2001:db8:1::2]:4000", PASS),
        (Udp, "[2001:db8::1]:53", "[2001:db8:1::2]:4000", PASS),
        (Tcp, "203.0.114.0:8000", "10.0.0.2:4000", DROP),
        (Tcp, "203.0.112.255:8000", "10.0.0.2:4000", DROP),
        (Tcp, "203.0.113.7:8011", "10.0.0.2:4000", DROP),
        (Udp, "203.0.113.7:8000", "10.0.0.2:4000", DROP),
        (Udp, "203.0.113.7:53", "10.0.0.2:4000", DROP),
        (Tcp, "[2001:db8:54::]:8001", "[2001:db8:1::2]:4000", DROP),
    ] {
        assert_eq!(
            verdict(&gate, protocol, local, remote),
            expected,
            "{protocol} {local}"
        );
    }
    let status = gate.status().unwrap();
    assert_eq!(
        status.vrfs[0].rules[1].rule,
        on_prefixes(rule("web", Tcp, 8000..=8010, &["192.0.2.1"]), &nets)
    );

    gate.apply(vrf(0, Posture::Enforced, vec![])).unwrap();
    assert_eq!(
        verdict(&gate, Tcp, "203.0.113.7:8000", "10.0.0.2:4000"),
        DROP
    );
}

#[test]
fn a_port_range_opens_its_first_and_last_port_and_no_neighbour() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![rule("nodeports", Tcp, 30001..=32766, &["192.0.2.1"])],
    ));
    for (port, expected) in [
        (1, DROP),
        (30000, DROP),
        (30001, PASS),
        (31999, PASS),
        (32000, PASS),
        (32766, PASS),
        (32767, DROP),
        (65535, DROP),
    ] {
        let local = format!("192.0.2.1:{port}");
        assert_eq!(
            verdict(&gate, Tcp, &local, "10.0.0.2:4000"),
            expected,
            "port {port}"
        );
    }
}

#[test]
fn a_rule_for_every_port_opens_every_port_of_its_address_only() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![rule("all", Udp, 1..=65535, &["192.0.2.1"])],
    ));
    for port in [1, 2, 53, 32768, 65535] {
        let local = format!("192.0.2.1:{port}");
        assert_eq!(
            verdict(&gate, Udp, &local, "10.0.0.2:4000"),
            PASS,
            "port {port}"
        );
        assert_eq!(
            verdict(&gate, Tcp, &local, "10.0.0.2:4000"),
            DROP,
            "port {port}"
        );
    }
    assert_eq!(verdict(&gate, Udp, "192.0.2.2:53", "10.0.0.2:4000"), DROP);
}

#[test]
fn a_restricted_rule_knows_its_clients_from_others_and_ipv6_from_ipv4() {
    let sandbox = Sandbox::new();
    let ssh = rule("ssh", Tcp, 22..=22, &["192.0.2.1", "2001:db8::1"]);
    let open = rule("web", Tcp, 80..=80, &["192.0.2.1"]);
    let all_ipv6 = rule("v6", Tcp, 81..=81, &["192.0.2.1", "2001:db8::1"]);
    let gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![
            from_sources(ssh, &["10.0.0.0/8", "198.51.100.7/32", "2001:db8:1::/48"]),
            from_sources(all_ipv6, &["::/0"]),
            open,
        ],
    ));
    for (local, remote, expected) in [
        ("192.0.2.1:22", "10.255.0.2:4000", PASS),
        ("192.0.2.1:22", "198.51.100.7:4000", PASS),
        ("192.0.2.1:22", "198.51.100.8:4000", DROP),
        ("192.0.2.1:22", "11.0.0.2:4000", DROP),
        ("[2001:db8::1]:22", "[2001:db8:1:2::3]:4000", PASS),
        ("[2001:db8::1]:22", "[2001:db8:2::3]:4000", DROP),
        ("192.0.2.1:80", "11.0.0.2:4000", PASS),
        ("[2001:db8::1]:81", "[2001:db8:2::3]:4000", PASS),
        ("192.0.2.1:81", "10.0.0.2:4000", DROP),
    ] {
        assert_eq!(
            verdict(&gate, Tcp, local, remote),
            expected,
            "{remote} to {local}"
        );
    }
}

#[test]
fn an_audited_vrf_lets_everything_in_and_counts_what_it_would_refuse() {
    let sandbox = Sandbox::new();
    let ssh = rule("ssh", Tcp, 22..=22, &["192.0.2.1"]);
    let gate = sandbox.attach(&vrf(
        0,
        Posture::Audited,
        vec![from_sources(ssh, &["10.0.0.0/8"])],
    ));
    assert_eq!(verdict(&gate, Tcp, "192.0.2.1:22", "10.0.0.2:4000"), PASS);
    assert_eq!(verdict(&gate, Tcp, "192.0.2.1:22", "11.0.0.2:4000"), PASS);
    assert_eq!(verdict(&gate, Tcp, "192.0.2.1:80", "10.0.0.2:4000"), PASS);

    let status = gate.status().unwrap();
    let blue = &status.vrfs[0];
    assert_eq!((blue.hits.would_refuse, blue.hits.refused), (2, 0));
    let ssh = blue.rules[0].hits;
    assert_eq!((ssh.passed, ssh.would_refuse, ssh.refused), (1, 1, 0));
}

#[test]
fn refusals_are_counted_for_the_vrf_and_for_the_rule_that_came_closest() {
    let sandbox = Sandbox::new();
    let ssh = rule("ssh", Tcp, 22..=22, &["192.0.2.1"]);
    let gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![from_sources(ssh, &["10.0.0.0/8"])],
    ));
    verdict(&gate, Tcp, "192.0.2.1:22", "10.0.0.2:4000");
    verdict(&gate, Tcp, "192.0.2.1:22", "11.0.0.2:4000");
    verdict(&gate, Tcp, "192.0.2.1:80", "10.0.0.2:4000");

    let status = gate.status().unwrap();
    assert_eq!(status.vrfs[0].hits.refused, 2);
    let ssh = status.vrfs[0].rules[0].hits;
    assert_eq!((ssh.passed, ssh.refused), (1, 1));
}

#[test]
fn a_refusal_is_reported_with_both_ends_and_the_rule_that_came_closest() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&vrf(0, Posture::Enforced, vec![]));
    verdict(&gate, Udp, "[2001:db8::1]:53", "[2001:db8:1::2]:4001");
    verdict(&gate, Tcp, "192.0.2.1:80", "10.0.0.2:4000");

    let events: Vec<_> = gate.events().unwrap().collect();
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[0].remote,
        "2001:db8:1::2"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()
    );
    assert_eq!(
        (
            events[0].protocol,
            events[0].local_port,
            events[0].remote_port
        ),
        (17, 53, 4001)
    );
    assert_eq!(&events[1].local[10..], &[0xff, 0xff, 192, 0, 2, 1]);
    assert_eq!((events[1].vrf, events[1].rule), (0, vrfgate_ebpf::NO_RULE));
    assert_eq!(events[1].verdict, vrfgate_ebpf::REFUSED);
    assert!(events[0].time_ns < events[1].time_ns);
}

#[test]
fn an_event_names_the_rule_that_came_closest_the_vrf_and_whether_it_was_audited() {
    for (mode, expected) in [
        (Posture::Enforced, vrfgate_ebpf::REFUSED),
        (Posture::Audited, vrfgate_ebpf::WOULD_REFUSE),
    ] {
        let sandbox = Sandbox::new();
        let ssh = rule("ssh", Tcp, 22..=22, &["192.0.2.1"]);
        let gate = sandbox.attach(&vrf(0, mode, vec![from_sources(ssh, &["10.0.0.0/8"])]));
        verdict(&gate, Tcp, "192.0.2.1:22", "11.0.0.2:4000");
        verdict(&gate, Tcp, "192.0.2.1:22", "10.0.0.2:4000");
        verdict(&gate, Tcp, "192.0.2.1:23", "11.0.0.2:4000");

        let events: Vec<_> = gate.events().unwrap().collect();
        assert_eq!(
            events.len(),
            2,
            "{mode}: one an event, and none for what passes"
        );
        assert!(
            events.iter().all(|event| event.verdict == expected),
            "{mode}"
        );
        assert_ne!(events[0].rule, vrfgate_ebpf::NO_RULE, "{mode}");
        assert_eq!(events[1].rule, vrfgate_ebpf::NO_RULE, "{mode}");
    }
}
