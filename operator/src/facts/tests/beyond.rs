//! Whether look-ups of a VRF go on beyond its own table.

use super::*;

fn rules(list: &[(u32, RuleAction)]) -> Vec<PolicyRule> {
    let rules = list.iter().map(|(preference, action)| PolicyRule {
        preference: *preference,
        action: *action,
        ..PolicyRule::default()
    });
    rules.collect()
}

#[test]
fn look_ups_go_on_in_the_main_table_under_either_order() {
    let local_first = rules(&[
        (0, RuleAction::Table(LOCAL)),
        (1000, RuleAction::L3mdev),
        (32766, RuleAction::Table(MAIN)),
        (32767, RuleAction::Table(253)),
    ]);
    assert_eq!(goes_on(&local_first, "BLUE"), Some(&local_first[2]));
    let local_last = rules(&[
        (1000, RuleAction::L3mdev),
        (32765, RuleAction::Table(LOCAL)),
        (32766, RuleAction::Table(MAIN)),
    ]);
    assert_eq!(goes_on(&local_last, "BLUE"), Some(&local_last[2]));
}

#[test]
fn a_rule_that_ends_look_ups_before_main_ends_them() {
    for end in [
        RuleAction::Unreachable,
        RuleAction::Prohibit,
        RuleAction::Blackhole,
    ] {
        let rules = rules(&[
            (1000, RuleAction::L3mdev),
            (2000, end),
            (32766, RuleAction::Table(MAIN)),
        ]);
        assert_eq!(goes_on(&rules, "BLUE"), None);
    }
}

#[test]
fn rules_for_some_packets_neither_end_look_ups_nor_lead_them_on() {
    let mut rules = rules(&[
        (900, RuleAction::Table(77)),
        (1000, RuleAction::L3mdev),
        (1500, RuleAction::Unreachable),
        (1600, RuleAction::Unreachable),
        (1700, RuleAction::Table(88)),
        (32766, RuleAction::Table(MAIN)),
    ]);
    rules[0].mark = Some((1, 0x7f));
    rules[2].to = Some("192.0.2.0/24".parse().unwrap());
    rules[3].input = Some("RED".into());
    rules[4].from = Some("10.0.0.0/8".parse().unwrap());
    assert_eq!(goes_on(&rules, "BLUE"), Some(&rules[5]));
    assert_eq!(goes_on(&rules, "RED"), None);
}

#[test]
fn the_cure_is_a_command() {
    assert_eq!(
        end_of_table(10, false),
        "ip -6 route add unreachable default metric 4278198272 table 10"
    );
}
