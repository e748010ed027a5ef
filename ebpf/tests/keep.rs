//! A gate that is kept: what other programs do to it is repaired, and what a gate of a namespace
//! that is gone has left is collected.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::SkLookup};
use common::{Sandbox, packet, rule, vrf};
use vrfgate_core::{Posture, Protocol::Tcp, RuleSet};
use vrfgate_ebpf::{Fate, Gate, LAYOUT, NetnsId, Repaired, collect_orphan, collect_orphans};
use vrfgate_sandbox::soon;

static ASSIGN: &[u8] = aya::include_bytes_aligned!("../object/assign.bpf.o");

fn ssh() -> RuleSet {
    vrf(
        0,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 22..=22, &["192.0.2.1"])],
    )
}

fn knock(gate: &Gate) {
    let local = "192.0.2.1:22".parse().unwrap();
    let packet = packet(Tcp, local, "10.0.0.2:4000".parse().unwrap());
    assert_eq!(gate.test_run(&packet, 1).unwrap().verdict, 1);
}

fn record(sandbox: &Sandbox, id: NetnsId) -> PathBuf {
    sandbox.run_dir().join(format!("{id}.json"))
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn pins_that_somebody_removes_are_made_again_with_the_same_rules_and_counters() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&ssh());
    knock(&gate);
    let pins = sandbox.pins();
    let root = pins.parent().unwrap().to_owned();
    let events = pins.join(format!("v{LAYOUT}/events"));
    let tracker = root.join(format!("tracker-v{LAYOUT}"));
    for (removed, mended) in [
        (&root, &[Repaired::Pins, Repaired::Tracker][..]),
        (&pins, &[Repaired::Pins]),
        (&pins.join("link"), &[Repaired::Pins]),
        (&events, &[Repaired::Pins]),
        (&tracker, &[Repaired::Tracker]),
    ] {
        if removed.is_dir() {
            fs::remove_dir_all(removed).unwrap();
        } else {
            fs::remove_file(removed).unwrap();
        }
        assert_eq!(gate.keep().unwrap(), mended, "{removed:?}");
        assert_eq!(gate.keep().unwrap(), [], "{removed:?}");
        assert_eq!(entries(&root), 2, "{removed:?}");
        assert!(gate.is_current().unwrap(), "{removed:?}");
    }

    // Nothing holds the gate now but its pins.
    drop(gate);
    let gate = sandbox.open().unwrap().unwrap();
    let status = gate.status().unwrap();
    assert_eq!(status.vrfs[0].rules[0].hits.passed, 1);
    assert!(sandbox.sysctl("tcp"));
}

#[test]
fn a_record_that_somebody_removes_is_written_again_and_still_knows_the_former_values() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("udp", true);
    let mut gate = sandbox.attach(&ssh());
    fs::remove_dir_all(sandbox.run_dir()).unwrap();
    assert_eq!(gate.keep().unwrap(), [Repaired::Record]);
    drop(gate);
    sandbox.open().unwrap().unwrap().detach().unwrap();
    assert!(sandbox.sysctl("udp"));
}

#[test]
fn a_program_of_somebody_else_is_told_and_whether_it_may_assign_sockets() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh());
    assert_eq!(gate.other_programs().unwrap(), []);

    let mut object = Ebpf::load(ASSIGN).unwrap();
    let assign: &mut SkLookup = object.program_mut("assign").unwrap().try_into().unwrap();
    assign.load().unwrap();
    let link = assign.attach(sandbox.netns()).unwrap();
    let others = gate.other_programs().unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(
        (others[0].name.as_str(), others[0].may_assign),
        ("assign", true)
    );
    assign.detach(link).unwrap();

    // A gate's program, as it happens: none of its maps holds sockets.
    let elsewhere = Sandbox::new();
    let _gate = elsewhere.attach(&ssh());
    let mut harmless = SkLookup::from_pin(elsewhere.pins().join("program")).unwrap();
    harmless.attach(sandbox.netns()).unwrap();
    let others = gate.other_programs().unwrap();
    assert_eq!((others.len(), others[0].may_assign), (1, false));
}

#[test]
fn what_a_gate_leaves_of_itself_goes_after_its_namespace() {
    let mut sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    let (id, pins) = (sandbox.netns().id(), sandbox.pins());
    fs::write(sandbox.run_dir().join(format!("{id}.report.json")), "{}").unwrap();
    assert_eq!(collect_orphan(&sandbox.store, id).unwrap(), Fate::Alive);
    assert_eq!(collect_orphans(&sandbox.store).unwrap(), []);
    assert!(record(&sandbox, id).exists() && pins.join("link").exists());

    sandbox.move_to_new_netns();

    soon("the leftovers are collected", || {
        collect_orphans(&sandbox.store).unwrap() == [id]
    });
    assert_eq!(entries(&sandbox.run_dir()), 0);
    assert_eq!(entries(pins.parent().unwrap()), 0);
}

#[test]
fn a_gate_that_was_only_detached_keeps_what_it_owes_to_its_namespace() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    sandbox.detach_gate();
    assert_eq!(collect_orphans(&sandbox.store).unwrap(), []);
    assert!(record(&sandbox, sandbox.netns().id()).exists());
}

#[test]
fn what_somebody_looks_after_is_not_collected() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh());
    let id = sandbox.netns().id();
    sandbox.detach_gate();
    assert_eq!(collect_orphan(&sandbox.store, id).unwrap(), Fate::Alive);
    drop(gate);
}

#[test]
fn leftovers_under_a_number_that_a_new_namespace_has_now_are_collected_too() {
    let mut sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    let (old_pins, old_record) = (sandbox.pins(), record(&sandbox, sandbox.netns().id()));
    sandbox.move_to_new_netns();
    let id = sandbox.netns().id();
    fs::rename(old_pins, sandbox.pins()).unwrap();
    fs::rename(old_record, record(&sandbox, id)).unwrap();
    assert!(collect_orphans(&sandbox.store).unwrap().contains(&id));
    assert!(!sandbox.pins().exists() && !record(&sandbox, id).exists());
    assert!(!collect_orphans(&sandbox.store).unwrap().contains(&id));
}
