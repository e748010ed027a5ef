//! Rules that can't be in one gate.

use std::ops::RangeInclusive;

use crate::{Opening, Posture, Protocol, Rule, RuleError, RuleSet, Vrf};

fn rule(name: &str, ports: RangeInclusive<u16>, addresses: &[&str], prefixes: &[&str]) -> Rule {
    let opening = Opening {
        protocol: Protocol::Tcp,
        ports: ports.try_into().unwrap(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
    };
    Rule::new(name, opening)
}

fn blue(rules: Vec<Rule>) -> Vrf {
    Vrf {
        name: "BLUE".into(),
        posture: Posture::Enforced,
        rules,
    }
}

fn refusal(rules: Vec<Rule>) -> RuleError {
    RuleSet::new([(1, blue(rules))].into(), [].into()).unwrap_err()
}

#[test]
fn two_vrfs_of_one_name_are_refused() {
    let vrfs = [(1, blue(vec![])), (7, blue(vec![]))];
    let refused = RuleSet::new(vrfs.into(), [].into());
    assert_eq!(refused, Err(RuleError::DuplicateName("BLUE".into())));
}

#[test]
fn two_rules_of_one_name_are_refused() {
    let [one, other] = [80, 81].map(|port| rule("web", port..=port, &["192.0.2.1"], &[]));
    assert_eq!(
        refusal(vec![one, other]),
        RuleError::DuplicateName("web".into())
    );
}

#[test]
fn overlapping_rules_are_refused_by_name() {
    let web = rule("web", 8000..=8080, &["192.0.2.1"], &[]);
    let metrics = rule("metrics", 8080..=8090, &["192.0.2.1"], &[]);
    let complaint = refusal(vec![web, metrics]).to_string();
    for part in ["web", "metrics", "192.0.2.1 8080/TCP"] {
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[test]
fn a_prefix_and_an_address_inside_it_are_not_opened_by_two_rules() {
    let prefix = rule("web", 80..=90, &[], &["203.0.113.0/24"]);
    let inside = rule("one", 90..=90, &["203.0.113.9"], &[]);
    let complaint = refusal(vec![inside, prefix]).to_string();
    assert!(complaint.contains("203.0.113.9 90/TCP"), "{complaint}");
}
