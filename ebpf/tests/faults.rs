//! A gate among faults: links detached, pins and records lost, changes that fail half way, namespaces that
//! die. Whatever happens, no door is left open.

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use aya::maps::{HashMap, Map, MapData};
use common::{Sandbox, from_sources, packet, rule, vrf};
use vrfgate_abi::{RuleKey, RuleValue};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
    RuleSet,
};
use vrfgate_ebpf::{
    Capacity, Changes, Error, Gate, Hits, LAYOUT, Netns, RoomError, SharedPorts, Store,
    sk_lookup_programs,
};

fn ssh() -> RuleSet {
    vrf(
        0,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 22..=22, &["192.0.2.1"])],
    )
}

fn passes(gate: &Gate, local: &str) -> bool {
    let packet = packet(
        Tcp,
        local.parse().unwrap(),
        "10.0.0.2:4000".parse().unwrap(),
    );
    gate.test_run(&packet, 1).unwrap().verdict == 1
}

#[test]
fn both_links_detached_by_force_close_the_sysctls_of_a_gate_that_is_held() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&vrf(
        0,
        Posture::Enforced,
        vec![rule("dns", Udp, 53..=53, &["192.0.2.1"])],
    ));
    gate.verify().unwrap();
    assert_eq!(sandbox.sysctls(), [true, true]);
    sandbox.detach_gate();
    assert!(matches!(gate.verify(), Err(Error::NotInForce { .. })));
    assert_eq!(sandbox.sysctls(), [false, false]);

    assert!(matches!(gate.apply(ssh()), Err(Error::NotInForce { .. })));
    assert_eq!(sandbox.sysctls(), [false, false]);
}

#[test]
fn both_links_detached_by_force_close_the_sysctls_when_the_gate_is_taken_over_or_changed() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    sandbox.detach_gate();
    assert!(matches!(sandbox.open(), Err(Error::NotInForce { .. })));
    assert_eq!(sandbox.sysctls(), [false, false]);

    let mut gate = sandbox.attach(&ssh());
    sandbox.detach_gate();
    assert!(matches!(gate.apply(ssh()), Err(Error::NotInForce { .. })));
    assert_eq!(sandbox.sysctls(), [false, false]);
}

#[test]
fn a_gate_that_runs_by_somebody_elses_link_only_is_not_in_force() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh());
    let mut program = aya::programs::SkLookup::from_pin(sandbox.pins().join("program")).unwrap();
    program.attach(sandbox.netns()).unwrap();
    sandbox.detach_gate();
    assert_eq!(sk_lookup_programs(&sandbox.netns()).unwrap().len(), 1);
    assert!(matches!(gate.verify(), Err(Error::NotInForce { .. })));
    assert_eq!(sandbox.sysctls(), [false, false]);
}

#[test]
fn rules_that_do_not_fit_leave_a_namespace_without_a_gate_as_it_was() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("udp", true);
    let capacity = Capacity {
        rules: 1,
        ..Capacity::default()
    };
    let two = vrf(
        0,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 22..=22, &["192.0.2.1", "192.0.2.2"])],
    );
    let Err(error) = Gate::attach(&sandbox.store, sandbox.netns(), &two, &capacity) else {
        panic!("two entries fit into a map of one");
    };
    assert!(
        matches!(error, Error::Room(RoomError::Full { needed: 2, .. })),
        "{error}"
    );
    assert!(sk_lookup_programs(&sandbox.netns()).unwrap().is_empty());
    assert_eq!(sandbox.sysctls(), [false, true]);
    assert!(sandbox.open().unwrap().is_none());
    sandbox.attach(&ssh()).detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, true]);
    let left = fs::read_dir(sandbox.pins().parent().unwrap()).unwrap();
    assert_eq!(left.count(), 0, "pins left behind");
}

/// Puts an entry into the gate's map of rules that the gate does not know of.
fn intrude(sandbox: &Sandbox, port: u16) {
    let map = MapData::from_pin(sandbox.pins().join(format!("v{LAYOUT}/rules"))).unwrap();
    let mut rules: HashMap<_, RuleKey, RuleValue> = Map::HashMap(map).try_into().unwrap();
    let key = RuleKey {
        vrf: 0,
        port,
        protocol: Tcp.number(),
        block: 0,
        address: [9; 16],
    };
    rules
        .insert(key, RuleValue { rule: 9, flags: 0 }, 0)
        .unwrap();
}

#[test]
fn a_change_that_the_kernel_refuses_half_way_is_taken_back() {
    let sandbox = Sandbox::new();
    let capacity = Capacity {
        rules: 3,
        ..Capacity::default()
    };
    let mut gate = Gate::attach(&sandbox.store, sandbox.netns(), &ssh(), &capacity).unwrap();
    intrude(&sandbox, 1);
    let web = vrf(
        0,
        Posture::Enforced,
        vec![rule("web", Tcp, 80..=80, &["192.0.2.1", "192.0.2.2"])],
    );
    assert!(matches!(gate.apply(web.clone()), Err(Error::Maps { .. })));
    assert!(passes(&gate, "192.0.2.1:22"));
    assert!(!passes(&gate, "192.0.2.1:80"));
    assert!(!passes(&gate, "192.0.2.2:80"));

    // The next change has read the maps, and what nobody asked for makes room.
    gate.apply(web.clone()).unwrap();
    assert!(!passes(&gate, "192.0.2.1:22"));
    assert!(passes(&gate, "192.0.2.1:80"));
    assert!(passes(&gate, "192.0.2.2:80"));
}

#[test]
fn a_gate_that_is_taken_over_and_asked_for_what_it_has_is_not_written_to() {
    let sandbox = Sandbox::new();
    let range = vrf(
        0,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 22..=23, &["192.0.2.1"])],
    );
    let mut gate = sandbox.attach(&range);
    gate.apply(ssh()).unwrap();
    drop(gate);
    let mut gate = sandbox.open().unwrap().unwrap();
    assert_eq!(gate.apply(ssh()).unwrap(), Changes::default());
}

#[test]
fn a_vrf_that_is_gone_is_gated_no_more_and_a_source_that_is_gone_is_refused() {
    let sandbox = Sandbox::new();
    let restricted = |sources: &[&str]| {
        let ssh = rule("ssh", Tcp, 22..=22, &["192.0.2.1"]);
        vrf(0, Posture::Enforced, vec![from_sources(ssh, sources)])
    };
    let mut gate = sandbox.attach(&restricted(&["10.0.0.0/24", "11.0.0.0/8"]));
    assert!(passes(&gate, "192.0.2.1:22"));
    gate.apply(restricted(&["11.0.0.0/8"])).unwrap();
    assert!(!passes(&gate, "192.0.2.1:22"));
    gate.apply(RuleSet::default()).unwrap();
    assert!(passes(&gate, "192.0.2.1:80"));
    assert_eq!(gate.status().unwrap().vrfs, []);
}

#[test]
fn a_former_udp_sysctl_stays_open_without_a_udp_rule() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("udp", true);
    let mut gate = sandbox.attach(&ssh());
    assert_eq!(sandbox.sysctls(), [true, true]);
    gate.apply(RuleSet::default()).unwrap();
    assert_eq!(sandbox.sysctls(), [true, true]);
}

#[test]
fn only_root_and_its_group_can_look_at_the_record_and_the_locks() {
    let sandbox = Sandbox::new();
    let _gate = sandbox.attach(&ssh());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&sandbox.run_dir()), 0o750);
    let files: Vec<_> = fs::read_dir(sandbox.run_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o640, "{}", file.display());
    }
}

#[test]
fn pins_of_a_namespace_that_is_gone_are_not_taken_for_a_gate_of_the_next() {
    let mut sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    let old = sandbox.pins();
    sandbox.move_to_new_netns();
    // As if the kernel had given the number away again.
    fs::rename(old, sandbox.pins()).unwrap();
    assert!(matches!(sandbox.open(), Err(Error::NotInForce { .. })));
    sandbox.attach(&ssh()).verify().unwrap();
}

#[test]
fn counters_are_summed_over_every_cpu() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let this_thread = nix::unistd::Pid::from_raw(0);
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh());
    let allowed = sched_getaffinity(this_thread).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count())
        .filter(|&cpu| allowed.is_set(cpu).unwrap())
        .collect();
    for &cpu in &cpus {
        let mut only = CpuSet::new();
        only.set(cpu).unwrap();
        sched_setaffinity(this_thread, &only).unwrap();
        passes(&gate, "192.0.2.1:22");
        passes(&gate, "192.0.2.1:80");
    }
    let every = u64::try_from(cpus.len()).unwrap();
    let blue = &gate.status().unwrap().vrfs[0];
    assert_eq!(
        (blue.rules[0].hits.passed, blue.hits.refused),
        (every, every)
    );
}

#[test]
fn a_file_that_is_no_namespace_is_not_opened_as_one() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.run_dir()).unwrap();
    let file = sandbox.run_dir().join("file");
    fs::write(&file, "").unwrap();
    let error = Netns::open(file.to_str().unwrap()).unwrap_err();
    assert!(error.to_string().contains("not a namespace"), "{error}");
}

#[test]
fn what_a_vrf_nobody_speaks_of_lets_in_is_neither_counted_nor_reported() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("tcp", true);
    let gate = sandbox.attach(&vrf(0, Posture::AsBefore, vec![]));
    assert!(passes(&gate, "192.0.2.1:22"));
    assert_eq!(gate.status().unwrap().vrfs[0].hits, Hits::default());
    assert_eq!(gate.events().unwrap().count(), 0);
}

fn record(sandbox: &Sandbox) -> std::path::PathBuf {
    let id = sandbox.netns().id();
    sandbox.run_dir().join(format!("{id}.json"))
}

#[test]
fn a_gate_found_missing_closes_the_sysctls_even_where_no_new_one_can_be_attached() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_dir_all(sandbox.pins()).unwrap();
    // As if somebody had unmounted the BPF file system.
    let elsewhere = sandbox.run_dir().join("no-bpffs");
    fs::create_dir(&elsewhere).unwrap();
    let unmounted = Store::new(elsewhere, sandbox.run_dir());
    Gate::close_if_missing(&unmounted, &sandbox.netns()).unwrap();
    assert!(Gate::attach(&unmounted, sandbox.netns(), &ssh(), &Capacity::default()).is_err());
    assert_eq!(sandbox.sysctls(), [false, false], "an open door");
}

#[test]
fn a_record_that_cannot_be_read_makes_nobody_take_our_sysctls_for_former_ones() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_dir_all(sandbox.pins()).unwrap();
    fs::write(record(&sandbox), "{").unwrap();
    sandbox.attach(&ssh()).detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, false], "an open door");
}

#[test]
fn cleaning_up_after_a_lost_record_leaves_no_open_door() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_file(record(&sandbox)).unwrap();
    assert!(Gate::clean_up(&sandbox.store, &sandbox.netns(), SharedPorts::Refuse).unwrap());
    assert_eq!(sandbox.sysctls(), [false, false], "an open door");
}

#[test]
fn attaching_over_a_dead_gate_without_its_record_takes_no_sysctl_for_a_former_one() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_file(record(&sandbox)).unwrap();
    fs::remove_file(sandbox.pins().join("link")).unwrap();
    sandbox.attach(&ssh()).detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, false], "an open door");
}

#[test]
fn a_gate_with_a_pin_missing_can_still_be_taken_away() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_file(sandbox.pins().join("program")).unwrap();
    // What `vrfgate clear` does.
    match Gate::open(&sandbox.store, sandbox.netns()) {
        Ok(None) | Err(Error::NotInForce { .. }) => {}
        Ok(Some(_)) => panic!("opened without its program"),
        Err(error) => panic!("`vrfgate clear` stops here: {error}"),
    }
}

#[test]
fn who_only_looks_does_not_say_that_the_sysctls_were_closed_when_they_were_not() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_file(sandbox.pins().join("link")).unwrap();
    let error = Gate::inspect(&sandbox.store, &sandbox.netns()).unwrap_err();
    let claims = error.to_string().contains("were set to 0");
    assert_eq!(claims, sandbox.sysctls() == [false, false], "{error}");
}

#[test]
fn a_namespace_that_got_the_number_of_a_dead_one_does_not_inherit_its_former_sysctls() {
    let mut sandbox = Sandbox::new();
    sandbox.set_sysctl("tcp", true);
    drop(sandbox.attach(&ssh()));
    let (old_pins, old_record) = (sandbox.pins(), record(&sandbox));
    sandbox.move_to_new_netns();
    fs::rename(old_pins, sandbox.pins()).unwrap();
    fs::rename(old_record, record(&sandbox)).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(sandbox.open().unwrap().is_none());
    sandbox.attach(&ssh()).detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, false], "an open door");
}
