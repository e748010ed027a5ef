//! From the wire to "delivered here".

use super::{good::*, *};

#[test]
fn the_rule_that_decides_is_the_first_that_the_packet_meets() {
    let mut facts = good();
    let not_met = [
        PolicyRule {
            input: Some("RED".into()),
            ..lookup(1, RuleAction::Table(LOCAL))
        },
        PolicyRule {
            from: Some("10.9.0.0/16".parse().unwrap()),
            ..lookup(2, RuleAction::Table(LOCAL))
        },
        PolicyRule {
            mark: Some((0x10, 0xff)),
            ..lookup(3, RuleAction::Table(LOCAL))
        },
        PolicyRule {
            ports: Some(80..=90),
            ..lookup(4, RuleAction::Table(LOCAL))
        },
        PolicyRule {
            protocol: Some(17),
            ..lookup(5, RuleAction::Table(LOCAL))
        },
        PolicyRule {
            inverted: true,
            ..lookup(6, RuleAction::Table(LOCAL))
        },
        PolicyRule {
            output: Some("lan".into()),
            ..lookup(7, RuleAction::Table(LOCAL))
        },
    ];
    let met = PolicyRule {
        input: Some("BLUE".into()),
        from: Some("10.0.0.0/8".parse().unwrap()),
        ..lookup(8, RuleAction::Table(LOCAL))
    };
    facts.rules.splice(0..1, not_met.into_iter().chain([met]));
    let explanation = verdict(&facts, Verdict::Served);
    let said = &explanation.steps[1].finding;
    assert!(
        said.starts_with("8: from 10.0.0.0/8 iif BLUE lookup local decides"),
        "{said}"
    );
}

#[test]
fn a_look_up_that_goes_on_beyond_the_vrfs_table_is_told_with_what_ends_it() {
    let ended = "route add unreachable default metric 4278198272 table 10";
    let mut facts = good();
    facts.rules.swap(0, 1);
    let explanation = verdict(&facts, Verdict::Served);
    assert!(
        explanation.steps[1].finding.contains(ended),
        "{explanation:#?}"
    );

    facts.arrival = Some(Answer::Route(route(
        RouteKind::Unicast,
        MAIN,
        "203.0.113.0/24",
        LAN,
    )));
    let explanation = facts.explain(&question("203.0.113.9:22/tcp"));
    assert_eq!(explanation.verdict, Verdict::Forwarded);
    assert!(
        explanation.steps[1].finding.contains(ended),
        "{explanation:#?}"
    );

    let explanation = verdict(&good(), Verdict::Served);
    assert!(
        !explanation.steps[1].finding.contains(ended),
        "{explanation:#?}"
    );
}

#[test]
fn the_longest_dead_end_of_the_first_table_ends_a_look_up_unless_it_throws() {
    let end = |kind, table, prefix: &str| RouteFact {
        device: None,
        ..route(kind, table, prefix, 0)
    };
    let unreachable = |dead_ends| Facts {
        arrival: Some(Answer::None(NoWay::Unreachable)),
        dead_ends,
        ..good()
    };
    let said = |facts: &Facts, expected| {
        let steps = verdict(facts, expected).steps;
        steps.last().unwrap().finding.clone()
    };
    let both = vec![
        end(RouteKind::Unreachable, BLUE_TABLE, "0.0.0.0/0"),
        end(RouteKind::Prohibit, BLUE_TABLE, "192.0.2.0/24"),
        end(RouteKind::Unreachable, MAIN, "192.0.2.1/32"),
    ];
    let prohibit = said(&unreachable(both), Verdict::Unreachable);
    assert!(
        prohibit.starts_with("prohibit 192.0.2.0/24 table 10"),
        "{prohibit}"
    );
    let thrown = vec![
        end(RouteKind::Unreachable, BLUE_TABLE, "0.0.0.0/0"),
        end(RouteKind::Throw, BLUE_TABLE, "192.0.2.0/24"),
    ];
    said(&unreachable(thrown), Verdict::NoRoute);
    said(&unreachable(vec![]), Verdict::NoRoute);
}

#[test]
fn the_other_errors_of_a_look_up_have_names() {
    for (no_way, expected) in [
        (NoWay::NoRoute, Verdict::NoRoute),
        (NoWay::ReversePath, Verdict::ReversePath),
        // What Linux 7 says of the same.
        (NoWay::Invalid, Verdict::ReversePath),
        (NoWay::Other("no such luck".into()), Verdict::NoRoute),
    ] {
        let facts = Facts {
            arrival: Some(Answer::None(no_way)),
            ..good()
        };
        verdict(&facts, expected);
    }
}

#[test]
fn a_source_that_no_client_may_have_is_named() {
    let mut facts = Facts {
        arrival: Some(Answer::None(NoWay::Invalid)),
        ..good()
    };
    let asked = |facts: &Facts, from: &str| {
        let question =
            Question::new("BLUE".parse().unwrap(), ip(from), "192.0.2.1:22/tcp").unwrap();
        facts.explain(&question).verdict
    };
    for from in ["0.0.0.1", "127.0.0.1", "255.255.255.255"] {
        assert_eq!(asked(&facts, from), Verdict::ImpossibleSource, "{from}");
    }
    assert_eq!(asked(&facts, "10.9.9.9"), Verdict::ReversePath);
    facts.node.addresses.push(LocalAddress {
        ifindex: BLUE1,
        address: ip("10.9.9.9"),
    });
    assert_eq!(asked(&facts, "10.9.9.9"), Verdict::ImpossibleSource);
}

#[test]
fn a_route_for_the_very_address_is_to_be_replaced() {
    let facts = |prefix: &str| Facts {
        arrival: Some(Answer::Route(route(
            RouteKind::Unicast,
            BLUE_TABLE,
            prefix,
            1,
        ))),
        ..good()
    };
    let explanation = verdict(&facts("192.0.2.1/32"), Verdict::NotDelivered);
    assert!(
        explanation
            .advice
            .contains("ip route replace local 192.0.2.1 dev lan table 10"),
        "{}",
        explanation.advice
    );
    let explanation = verdict(&facts("192.0.2.0/24"), Verdict::NotDelivered);
    assert!(explanation.advice.contains("ip route add local 192.0.2.1"));
}

#[test]
fn a_vrf_whose_slaves_are_all_down_receives_nothing() {
    let mut facts = good();
    facts.down = [BLUE1].into();
    verdict(&facts, Verdict::Served);
    facts.down = [BLUE1, BLUE2].into();
    verdict(&facts, Verdict::InterfaceDown);
}
