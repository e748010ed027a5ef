//! The state of each leak, in the terms of `VrfGateNode`. Pure.

use crate::{
    api::{GateLeak, LeakOutcome, NodeLeakState, VrfGateNodeSpec},
    node::{LeakState, Report},
};

/// One outcome for each leak asked for, in their order.
pub fn outcomes(
    spec: &VrfGateNodeSpec,
    unread: &[(String, String)],
    report: Option<&Report>,
    trouble: Option<&str>,
) -> Vec<LeakOutcome> {
    let mut outcomes: Vec<LeakOutcome> = spec
        .leaks
        .iter()
        .map(|leak| outcome(leak, unread, report, trouble))
        .collect();
    // The newest spec is not in force, and the one before still is: so a leak that is no longer asked for may be held.
    let held = report.filter(|report| !report.errors.is_empty());
    for leak in held.iter().flat_map(|report| &report.leaks) {
        if !outcomes.iter().any(|outcome| outcome.name == leak.name) {
            outcomes.push(LeakOutcome {
                name: leak.name.clone(),
                generation: 0,
                state: NodeLeakState::Failed,
                reason: None,
                notes: vec!["can't be taken out of force".to_owned()],
            });
        }
    }
    outcomes
}

fn outcome(
    leak: &GateLeak,
    unread: &[(String, String)],
    report: Option<&Report>,
    trouble: Option<&str>,
) -> LeakOutcome {
    let unread = unread.iter().find(|(name, _)| *name == leak.name);
    let errors = report.iter().flat_map(|report| report.errors.iter());
    let in_the_way: Vec<String> = unread
        .map(|(_, why)| why.clone())
        .into_iter()
        .chain(trouble.map(str::to_owned))
        .chain(errors.cloned())
        .collect();
    let kept = report.and_then(|report| report.leaks.iter().find(|kept| kept.name == leak.name));
    let (state, reason, notes) = match kept {
        Some(kept) if in_the_way.is_empty() => (
            node_state(kept.state),
            kept.reason.map(|reason| reason.as_str().to_owned()),
            kept.notes.clone(),
        ),
        Some(_) | None => (NodeLeakState::Failed, None, in_the_way),
    };
    LeakOutcome {
        name: leak.name.clone(),
        generation: leak.generation,
        state,
        reason,
        notes,
    }
}

/// The state of a leak in the terms of `VrfGateNode`.
pub const fn node_state(kept: LeakState) -> NodeLeakState {
    match kept {
        LeakState::InForce => NodeLeakState::InForce,
        LeakState::Waiting => NodeLeakState::Waiting,
        LeakState::Failed => NodeLeakState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::{LeakReport, Reason};

    fn report(states: &[LeakState]) -> Report {
        let leak = |(number, state): (usize, &LeakState)| LeakReport {
            name: format!("leak{number}"),
            vrf: "BLUE".into(),
            state: *state,
            reason: None,
            notes: vec![],
        };
        Report {
            leaks: states.iter().enumerate().map(leak).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn leaks_that_wait_for_a_shared_port_say_so_by_a_word_and_who_shares_it() {
        let states = [LeakState::InForce, LeakState::Waiting, LeakState::InForce];
        let report = report(&states).pending_for_ports("TCP port 179 is shared by bgpd and bgpd");
        let leaks = (0..3).map(|number| {
            Arc::new(GateLeak {
                name: format!("leak{number}"),
                generation: 1,
                vrf: "BLUE".into(),
                mode: "Enforce".into(),
                replies: "Route".into(),
                routes: vec![],
                return_routes: vec![],
                services: vec![],
            })
        });
        let spec = VrfGateNodeSpec {
            leaks: leaks.collect(),
            ..VrfGateNodeSpec::default()
        };

        let outcomes = outcomes(&spec, &[], Some(&report), None);

        for (outcome, state) in outcomes.iter().zip(states) {
            if state == LeakState::Waiting {
                assert_eq!(outcome.state, NodeLeakState::Waiting);
                continue;
            }
            assert_eq!(outcome.state, NodeLeakState::Failed);
            assert_eq!(outcome.reason.as_deref(), Some(Reason::PortShared.as_str()));
            assert!(outcome.notes[0].contains("TCP port 179"), "{outcome:?}");
        }
        assert_eq!(outcomes.len(), 3);
    }
}
