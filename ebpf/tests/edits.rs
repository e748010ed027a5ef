//! A few rules that change among others: what the gate does about them by looking at nothing else comes to the same as
//! looking at everything.

mod common;

use std::cell::Cell;

use common::{Sandbox, from_sources, on_prefixes, opening, packet, ports, rule, vrf};
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
    Rule, RuleError, RuleSet, Vrf,
};
use vrfgate_ebpf::{Changes, Gate, Hits};

/// The VRF of test runs.
const VRF: u32 = 0;

/// An address for each rule that one is edited.
const LOCALS: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];

fn set(rules: &[Rule]) -> RuleSet {
    vrf(VRF, Posture::Enforced, rules.to_vec())
}

fn passes(gate: &Gate, to: &str) -> bool {
    let packet = packet(Tcp, to.parse().unwrap(), "10.0.0.2:40000".parse().unwrap());
    gate.test_run(&packet, 1).unwrap().verdict == 1
}

/// What a rule may become: each number has ports of its own, so that rules of two numbers never overlap.
fn any_rule(number: u16) -> impl Strategy<Value = Rule> {
    let first = number * 1000 + 1;
    (
        0..20_u16,
        0..40_u16,
        any::<bool>(),
        prop::sample::subsequence(vec!["192.0.2.1", "192.0.2.2", "2001:db8::1"], 1..=3),
        prop::sample::subsequence(vec!["203.0.113.0/24", "2001:db8:53::/48"], 0..=2),
        prop::sample::subsequence(vec!["10.0.0.0/8", "10.0.0.2/32", "2001:db8::/32"], 0..=3),
    )
        .prop_map(move |(start, more, is_tcp, addresses, prefixes, sources)| {
            let ports = first + start..=first + start + more;
            let protocol = if is_tcp { Tcp } else { Udp };
            let name = format!("rule{number}");
            let rule = on_prefixes(rule(&name, protocol, ports, &addresses), &prefixes);
            from_sources(rule, &sources)
        })
}

#[test]
fn whoever_reads_the_maps_after_an_edit_finds_nothing_left_to_do() {
    let sandbox = Sandbox::new();
    let gate = Cell::new(Some(sandbox.attach(&RuleSet::default())));
    let edits = prop::collection::vec((0..4_u16).prop_flat_map(any_rule), 1..8);
    let start = (any_rule(0), any_rule(1), any_rule(2), any_rule(3));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 25,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let nothing_is_left = |edited: Gate, rules: &[Rule]| {
        drop(edited);
        let mut reader = sandbox.open().unwrap().unwrap();
        let left = reader.apply(set(rules)).unwrap();
        if left == Changes::default() {
            Ok(reader)
        } else {
            gate.set(Some(reader));
            Err(TestCaseError::fail(format!("{left:?} for {rules:?}")))
        }
    };
    runner
        .run(&(start, edits), |((a, b, c, d), edits)| {
            let start = vec![a, b, c, d];
            let mut rules = start.clone();
            let mut edited = gate.take().unwrap();
            edited.apply(set(&rules)).unwrap();
            for edit in edits {
                let place = rules.iter().position(|rule| rule.name == edit.name);
                rules[place.unwrap()] = edit;
                edited.apply(set(&rules)).unwrap();
            }
            let mut edited = nothing_is_left(edited, &rules)?;

            // Back, edit by edit; then something that is no edit, for which all has to be known that edits did.
            for place in 0..rules.len() {
                rules[place] = start[place].clone();
                edited.apply(set(&rules)).unwrap();
                rules[place] = rule(&rules[place].name, Tcp, 1..=1, &[LOCALS[place]]);
                edited.apply(set(&rules)).unwrap();
            }
            let more = rule("more", Tcp, 9999..=9999, &["192.0.2.1"]);
            let all = [start, vec![more]].concat();
            edited.apply(set(&all)).unwrap();
            gate.set(Some(nothing_is_left(edited, &all)?));
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_edited_rule_keeps_its_counters_and_its_neighbours_go_on() {
    let sandbox = Sandbox::new();
    let mut rules = [
        rule("ssh", Tcp, 22..=22, &["192.0.2.1"]),
        rule("web", Tcp, 80..=80, &["192.0.2.1"]),
    ];
    let mut gate = sandbox.attach(&set(&rules));
    assert!(passes(&gate, "192.0.2.1:22"));
    rules[0].opens[0].ports = ports(2022..=2023);
    let changes = gate.apply(set(&rules)).unwrap();
    // The port became a block of two, which the policy of the VRF says, too: at first beside the old size.
    assert_eq!((changes.written, changes.removed), (2, 1));
    assert!(passes(&gate, "192.0.2.1:2023"));
    assert!(!passes(&gate, "192.0.2.1:22"));
    assert!(passes(&gate, "192.0.2.1:80"));
    let passed: Vec<u64> = gate.status().unwrap().vrfs[0]
        .rules
        .iter()
        .map(|rule| rule.hits)
        .map(|Hits { passed, .. }| passed)
        .collect();
    assert_eq!(passed, [2, 1]);
}

#[test]
fn an_edit_that_makes_two_rules_overlap_is_refused_and_the_next_one_goes_through() {
    let sandbox = Sandbox::new();
    let rules = [
        rule("ssh", Tcp, 22..=22, &["192.0.2.1", "192.0.2.2"]),
        rule("web", Tcp, 80..=80, &["192.0.2.2", "192.0.2.3"]),
    ];
    let mut gate = sandbox.attach(&set(&rules));
    let edits: [fn(&mut Rule); 3] = [
        |rule| rule.opens[0].ports = ports(22..=80),
        |rule| rule.opens[0].ports = ports(10..=30),
        |rule| rule.opens.push(opening(Tcp, 20..=22, &["192.0.2.1"])),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut edited = rules.clone();
        edit(&mut edited[1]);
        let blue = Vrf {
            name: "BLUE".into(),
            posture: Posture::Enforced,
            rules: edited.to_vec(),
        };
        let refused = RuleSet::new([(VRF, blue)].into(), [].into());
        assert!(
            matches!(refused, Err(RuleError::Overlap { .. })),
            "edit {number}: {refused:?}"
        );
        assert!(passes(&gate, "192.0.2.2:22"));
        assert!(passes(&gate, "192.0.2.3:80"));
        assert!(!passes(&gate, "192.0.2.3:22"));
    }
    // The next one that makes sense goes through.
    let mut edited = rules.clone();
    edited[1].opens[0].ports = ports(8080..=8080);
    gate.apply(set(&edited)).unwrap();
    assert!(passes(&gate, "192.0.2.3:8080"));
    assert!(!passes(&gate, "192.0.2.3:80"));
}
