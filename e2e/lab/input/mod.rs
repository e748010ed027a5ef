//! Bad input: one clear error each, and what was in force stays in force.

mod files;
mod surroundings;

use std::process::Output;

use libtest_mimic::Trial;
use vrfgate_e2e::{Host, Lab, Listener, Vrfgate, complaint};

use crate::{leaks::open_tcp, net::V4};

/// All of them.
pub fn tests() -> Vec<Trial> {
    [files::tests(), surroundings::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// A gate in force: port 22 open to BLUE, port 80 closed, a live listener behind each.
struct InForce {
    vrfgate: Vrfgate,
    client: Host,
    _listeners: [Listener; 2],
    _lab: Lab,
}

impl InForce {
    /// A running vrfgate keeps it so.
    fn running() -> Self {
        let mut in_force = Self::new();
        in_force.vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
        in_force.should_still_be();
        in_force
    }

    /// No process runs any more.
    fn left_alone() -> Self {
        let in_force = Self::new();
        in_force.vrfgate.apply(&open_tcp("BLUE", &V4, &[22]));
        in_force.should_still_be();
        in_force
    }

    fn new() -> Self {
        let (lab, client) = V4.one_vrf();
        Self {
            vrfgate: lab.vrfgate(),
            client,
            _listeners: [
                lab.listen("ssh").tcp(V4.any(22)),
                lab.listen("web").tcp(V4.any(80)),
            ],
            _lab: lab,
        }
    }

    /// New connections are decided as before.
    #[track_caller]
    fn should_still_be(&self) {
        self.client.connect(V4.main(22)).should_reach("ssh");
        self.client.connect(V4.main(80)).should_be_refused();
    }
}

/// A command failed and said why, in one line with these words.
#[track_caller]
fn should_complain(output: &Output, words: &[&str]) {
    let complaint = complaint(output);
    assert!(!output.status.success(), "it succeeded; {complaint}");
    assert_eq!(complaint.lines().count(), 1, "not one line:\n{complaint}");
    for word in words {
        assert!(complaint.contains(word), "no {word:?} in: {complaint}");
    }
}
