//! Decisions as an onlooker sees them, beside the process that has the gate.

mod common;

use std::time::{Duration, SystemTime};

use common::{Sandbox, from_sources, packet, rule, vrf, vrfs};
use vrfgate_core::{Posture, Protocol::Tcp, RuleSet};
use vrfgate_ebpf::{Decision, Decisions, Gate};

/// A packet from 11.0.0.2 for a port of 192.0.2.1.
fn knock(gate: &Gate, port: u16) {
    let local = ([192, 0, 2, 1], port).into();
    let remote = ([11, 0, 0, 2], 4000).into();
    gate.test_run(&packet(Tcp, local, remote), 1).unwrap();
}

fn watch(sandbox: &Sandbox) -> Decisions {
    Decisions::open(&sandbox.store, &sandbox.netns())
        .unwrap()
        .unwrap()
}

fn ports(decisions: &[Decision]) -> Vec<u16> {
    decisions
        .iter()
        .map(|decision| decision.to.port())
        .collect()
}

/// The kernel takes no interface number for a test packet: VRF 0 it is.
fn ssh_for(client: &str, posture: Posture) -> RuleSet {
    let ssh = rule("ssh", Tcp, 22..=22, &["192.0.2.1"]);
    vrf(0, posture, vec![from_sources(ssh, &[client])])
}

#[test]
fn a_namespace_without_a_gate_has_no_decisions() {
    let sandbox = Sandbox::new();
    let decisions = Decisions::open(&sandbox.store, &sandbox.netns()).unwrap();
    assert!(decisions.is_none());
}

#[test]
fn a_decision_is_reported_once_with_names_and_the_time_of_day() {
    for (mode, refused) in [(Posture::Enforced, true), (Posture::Audited, false)] {
        let sandbox = Sandbox::new();
        let gate = sandbox.attach(&ssh_for("10.0.0.0/8", mode));
        let mut decisions = watch(&sandbox);
        let before = SystemTime::now();
        knock(&gate, 22);
        knock(&gate, 80);

        let reported = decisions.take().unwrap();
        assert_eq!(ports(&reported), [22, 80]);
        let Decision {
            time,
            vrf,
            rule,
            protocol,
            from,
            to: _,
            refused: reported_refused,
        } = &reported[0];
        assert_eq!(
            (vrf.as_str(), rule.as_deref(), *protocol, *reported_refused),
            ("BLUE", Some("ssh"), Tcp, refused)
        );
        assert_eq!(*from, "11.0.0.2:4000".parse().unwrap());
        // Two clocks, read one after the other.
        let tolerance = Duration::from_secs(5);
        assert!(*time > before - tolerance && *time < SystemTime::now() + tolerance);
        assert_eq!(reported[1].rule, None);
        assert!(decisions.take().unwrap().is_empty());
    }
}

#[test]
fn names_are_those_of_the_rules_in_force() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&ssh_for("10.0.0.0/8", Posture::Enforced));
    let mut decisions = watch(&sandbox);
    let login = rule("login", Tcp, 22..=22, &["192.0.2.1"]);
    let login = vec![from_sources(login, &["10.0.0.0/8"])];
    gate.apply(vrfs([(0, "RED", Posture::Enforced, login)], &[]))
        .unwrap();
    knock(&gate, 22);

    let reported = decisions.take().unwrap();
    assert_eq!(reported[0].vrf, "RED");
    assert_eq!(reported[0].rule.as_deref(), Some("login"));
}

#[test]
fn an_onlooker_goes_over_to_a_gate_that_is_made_anew() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh_for("10.0.0.0/8", Posture::Enforced));
    let mut decisions = watch(&sandbox);
    knock(&gate, 1);
    gate.detach().unwrap();
    assert_eq!(ports(&decisions.take().unwrap()), [1]);

    let mut gate = sandbox.attach(&ssh_for("10.0.0.0/8", Posture::Enforced));
    knock(&gate, 2);
    assert_eq!(ports(&decisions.take().unwrap()), [2]);

    gate.renew().unwrap();
    knock(&gate, 3);
    let reported = decisions.take().unwrap();
    assert_eq!(ports(&reported), [3]);
    assert_eq!(reported[0].vrf, "BLUE");
}
