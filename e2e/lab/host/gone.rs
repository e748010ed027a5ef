//! A namespace that is removed takes everything of its gate with it.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use vrfgate_e2e::{Lab, Started, Vrfgate, program};

use crate::{
    leaks::open_tcp,
    net::V4,
    suite::{soon, tests},
};

tests! {
    "host";
    once:
        a_namespace_that_goes_away_ends_its_run_and_leaves_nothing,
        what_a_gate_of_a_namespace_that_is_gone_has_left_is_collected_by_the_next_run;
}

/// A namespace that nothing but its name keeps alive. The lab's own live as long as their tests.
struct Mortal(String);

impl Mortal {
    fn new(lab: &Lab) -> Self {
        let name = format!("{}-mortal", lab.netns().name());
        ip(lab, &format!("netns add {name}"));
        ip(lab, &format!("-n {name} link add BLUE type vrf table 10"));
        Self(name)
    }

    /// `vrfgate run` for it.
    fn run(&self, vrfgate: &Vrfgate, options: &[&str]) -> Child {
        vrfgate.write(&open_tcp("BLUE", &V4, &[22]));
        Command::new(program())
            .args(["run", "--netns", &self.0, "--file"])
            .arg(vrfgate.leaks())
            .arg("--bpffs")
            .arg(vrfgate.bpffs())
            .arg("--run-dir")
            .arg(vrfgate.run_dir())
            .args(options)
            .stderr(Stdio::null())
            .started()
            .unwrap_or_else(|error| panic!("starting vrfgate: {error}"))
    }

    fn die(self, lab: &Lab) {
        ip(lab, &format!("netns del {}", self.0));
    }
}

fn ip(lab: &Lab, command: &str) {
    let _ = lab.ip_shows(command);
}

/// Files and pins of all gates.
fn traces(vrfgate: &Vrfgate) -> usize {
    [vrfgate.run_dir(), vrfgate.bpffs().join("vrfgate")]
        .iter()
        .map(|directory| fs::read_dir(directory).map_or(0, Iterator::count))
        .sum()
}

fn a_namespace_that_goes_away_ends_its_run_and_leaves_nothing() {
    let lab = Lab::new();
    let vrfgate = lab.vrfgate();
    let mortal = Mortal::new(&lab);
    let mut run = mortal.run(&vrfgate, &[]);
    soon("the gate is put in", || {
        fs::read_dir(vrfgate.run_dir())
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with("report.json"))
    });

    mortal.die(&lab);

    let mut ended = None;
    soon("it ends", || {
        ended = run.try_wait().ok().flatten();
        ended.is_some()
    });
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert_eq!(traces(&vrfgate), 0);
}

fn what_a_gate_of_a_namespace_that_is_gone_has_left_is_collected_by_the_next_run() {
    let lab = Lab::new();
    let mut vrfgate = lab.vrfgate();
    let mortal = Mortal::new(&lab);
    let once = mortal.run(&vrfgate, &["--once"]).wait();
    assert!(once.is_ok_and(|status| status.success()));
    assert!(traces(&vrfgate) > 0);

    mortal.die(&lab);

    // The kernel ends a namespace some time after its name, and collecting waits for that.
    vrfgate.start(&open_tcp("BLUE", &V4, &[22]));
    soon("nothing but this namespace's is left", || {
        let inode = lab.netns().inode().to_string();
        let others = [vrfgate.run_dir(), vrfgate.bpffs().join("vrfgate")]
            .iter()
            .flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            // The tracker is everybody's.
            .any(|name| !name.starts_with(&inode) && !name.starts_with("tracker"));
        !others
    });
}
