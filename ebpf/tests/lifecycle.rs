//! The life of a gate as its callers see it: what is in bpffs and in the run directory, what the sysctls
//! say, who may change what, and what survives whom.

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use common::{Sandbox, from_sources, packet, rule, vrf};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
    RuleSet,
};
use vrfgate_ebpf::{Capacity, Changes, Error, Gate, L3mdevAccept, LAYOUT, Repaired, RoomError};

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
fn attaching_opens_tcp_and_opens_udp_only_for_a_udp_rule() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&ssh());
    assert_eq!(sandbox.sysctls(), [true, false]);

    gate.apply(vrf(
        0,
        Posture::Enforced,
        vec![rule("dns", Udp, 53..=53, &["192.0.2.1"])],
    ))
    .unwrap();
    assert_eq!(sandbox.sysctls(), [true, true]);

    gate.apply(ssh()).unwrap();
    assert_eq!(sandbox.sysctls(), [true, false]);
}

#[test]
fn detaching_gives_back_the_sysctls_and_leaves_no_file() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("udp", true);
    sandbox.attach(&ssh()).detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, true]);
    assert!(!sandbox.pins().exists());
    assert_eq!(fs::read_dir(sandbox.run_dir()).unwrap().count(), 0);
}

#[test]
fn the_former_sysctls_survive_an_adoption() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("tcp", true);
    drop(sandbox.attach(&ssh()));
    let mut gate = sandbox.open().unwrap().unwrap();
    gate.apply(RuleSet::default()).unwrap();
    let status = gate.status().unwrap();
    let former = L3mdevAccept {
        tcp: Some(true),
        udp: Some(false),
    };
    assert_eq!(status.sysctls.former, former);
    gate.detach().unwrap();
    assert!(sandbox.sysctl("tcp"));
}

#[test]
fn an_adopted_gate_goes_on_with_its_rules_names_and_counters() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh());
    assert!(passes(&gate, "192.0.2.1:22"));
    drop(gate);

    let mut gate = sandbox.open().unwrap().unwrap();
    assert!(passes(&gate, "192.0.2.1:22"));
    let unchanged = gate.apply(ssh()).unwrap();
    assert_eq!(unchanged, Changes::default());
    let moved = vrf(
        0,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 2222..=2222, &["192.0.2.1"])],
    );
    gate.apply(moved.clone()).unwrap();
    assert!(!passes(&gate, "192.0.2.1:22"));
    assert!(passes(&gate, "192.0.2.1:2222"));

    let status = gate.status().unwrap();
    let ssh = &status.vrfs[0].rules[0];
    assert_eq!((ssh.rule.name.as_str(), ssh.hits.passed), ("ssh", 3));
    assert_eq!(ssh.rule.opens[0].ports.to_string(), "2222");
}

#[test]
fn applying_changes_only_the_entries_that_differ() {
    let sandbox = Sandbox::new();
    let mut rules = vec![
        rule("ssh", Tcp, 22..=22, &["192.0.2.1", "192.0.2.2"]),
        from_sources(rule("dns", Udp, 53..=53, &["192.0.2.1"]), &["10.0.0.0/8"]),
    ];
    let mut gate = sandbox.attach(&vrf(0, Posture::Enforced, rules.clone()));

    rules[0].opens[0].addresses.pop();
    let changes = gate
        .apply(vrf(0, Posture::Enforced, rules.clone()))
        .unwrap();
    assert_eq!((changes.written, changes.removed), (0, 1));

    rules[1].sources = vec!["10.0.0.0/8".parse().unwrap(), "11.0.0.0/8".parse().unwrap()];
    let changes = gate.apply(vrf(0, Posture::Enforced, rules)).unwrap();
    assert_eq!((changes.written, changes.removed), (1, 0));
}

#[test]
fn what_status_says_is_what_was_asked_for() {
    let sandbox = Sandbox::new();
    let rules = vec![
        rule("a range", Tcp, 30000..=32767, &["192.0.2.1", "2001:db8::1"]),
        from_sources(
            rule("all", Udp, 1..=65535, &["192.0.2.1"]),
            &["10.0.0.0/8", "2001:db8::/32"],
        ),
    ];
    let gate = sandbox.attach(&vrf(0, Posture::Audited, rules.clone()));
    let status = gate.status().unwrap();
    assert_eq!(status.vrfs[0].posture, Posture::Audited);
    let found: Vec<_> = status.vrfs[0]
        .rules
        .iter()
        .map(|status| status.rule.clone())
        .collect();
    assert_eq!(found, rules);
}

#[test]
fn a_vrf_nobody_speaks_of_is_as_open_as_the_sysctls_were() {
    for (tcp, udp) in [(false, false), (true, false), (false, true)] {
        let sandbox = Sandbox::new();
        sandbox.set_sysctl("tcp", tcp);
        sandbox.set_sysctl("udp", udp);
        let gate = sandbox.attach(&vrf(0, Posture::AsBefore, vec![]));
        for (protocol, open) in [(Tcp, tcp), (Udp, udp)] {
            let local = "192.0.2.1:22".parse().unwrap();
            let packet = packet(protocol, local, "10.0.0.2:4000".parse().unwrap());
            let verdict = gate.test_run(&packet, 1).unwrap().verdict;
            assert_eq!(verdict, u32::from(open), "{protocol}");
        }
        gate.detach().unwrap();
        assert_eq!(sandbox.sysctls(), [tcp, udp]);
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_gate() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&ssh());
    let Err(Error::Busy { holder, .. }) = sandbox.open() else {
        panic!("the lock let a second one in");
    };
    assert_eq!(holder, std::process::id().to_string());
    drop(gate);
    assert!(sandbox.open().unwrap().is_some());
}

#[test]
fn a_namespace_has_one_gate() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    assert!(matches!(
        sandbox.try_attach(&ssh()),
        Err(Error::AlreadyAttached(_))
    ));
}

#[test]
fn pins_of_another_layout_are_refused_and_stay_in_force() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::rename(
        sandbox.pins().join(format!("v{LAYOUT}")),
        sandbox.pins().join("v9"),
    )
    .unwrap();
    for error in [sandbox.open().err(), sandbox.try_attach(&ssh()).err()] {
        let error = error.unwrap().to_string();
        assert!(
            error.contains("v9") && error.contains(&format!("v{LAYOUT}")),
            "{error}"
        );
    }
    assert!(sandbox.sysctl("tcp"));
    fs::rename(
        sandbox.pins().join("v9"),
        sandbox.pins().join(format!("v{LAYOUT}")),
    )
    .unwrap();
    assert!(passes(&sandbox.open().unwrap().unwrap(), "192.0.2.1:22"));
}

#[test]
fn a_gate_whose_link_is_gone_closes_the_sysctls_before_it_says_so() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("udp", true);
    drop(sandbox.attach(&ssh()));
    fs::remove_file(sandbox.pins().join("link")).unwrap();
    assert!(matches!(sandbox.open(), Err(Error::NotInForce { .. })));
    assert_eq!(sandbox.sysctls(), [false, false]);

    let gate = sandbox.attach(&ssh());
    assert!(sandbox.sysctl("tcp"));
    gate.detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, true]);
}

#[test]
fn lost_pins_close_the_sysctls_when_the_gate_is_attached_anew() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_dir_all(sandbox.pins()).unwrap();
    assert!(sandbox.open().unwrap().is_none());
    let gate = sandbox.attach(&ssh());
    assert!(!gate.status().unwrap().sysctls.former.tcp.unwrap());
    gate.detach().unwrap();
    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn rules_that_do_not_fit_change_nothing_and_say_how_many_would() {
    let sandbox = Sandbox::new();
    let capacity = Capacity {
        rules: 4,
        ..Capacity::default()
    };
    let mut gate = Gate::attach(&sandbox.store, sandbox.netns(), &ssh(), &capacity).unwrap();
    let too_many = vrf(
        0,
        Posture::Enforced,
        vec![rule("odd", Tcp, 1..=32766, &["192.0.2.1"])],
    );
    let error = gate.apply(too_many.clone()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Room(RoomError::Full {
                map: "rules",
                capacity: 4,
                ..
            })
        ),
        "{error}"
    );
    assert!(passes(&gate, "192.0.2.1:22"));
    assert!(!passes(&gate, "192.0.2.1:1"));
}

#[test]
fn a_full_map_is_turned_over_completely_without_a_free_entry() {
    let sandbox = Sandbox::new();
    let capacity = Capacity {
        rules: 2,
        ..Capacity::default()
    };
    let both = |port: u16| {
        vrf(
            0,
            Posture::Enforced,
            vec![rule("ssh", Tcp, port..=port, &["192.0.2.1", "192.0.2.2"])],
        )
    };
    let mut gate = Gate::attach(&sandbox.store, sandbox.netns(), &both(22), &capacity).unwrap();
    gate.apply(both(23)).unwrap();
    assert!(passes(&gate, "192.0.2.2:23"));
    assert!(!passes(&gate, "192.0.2.2:22"));
}

#[test]
fn only_root_and_its_group_can_look_at_the_pins() {
    let sandbox = Sandbox::new();
    let _gate = sandbox.attach(&ssh());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let pins = sandbox.pins();
    assert_eq!(mode(pins.parent().unwrap()), 0o750);
    assert_eq!(mode(&pins), 0o750);
    assert_eq!(mode(&pins.join(format!("v{LAYOUT}"))), 0o750);
    let maps = ["rules", "vrfs", "events"].map(|map| format!("v{LAYOUT}/{map}"));
    let attachments = ["link", "program", "guard-link", "guard-program"];
    for file in attachments.map(str::to_owned).iter().chain(&maps) {
        assert_eq!(mode(&pins.join(file)), 0o640, "{file}");
    }
}

#[test]
fn a_counter_of_a_rule_that_went_is_not_inherited_by_the_next() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&ssh());
    assert!(passes(&gate, "192.0.2.1:22"));
    gate.apply(vrf(0, Posture::Enforced, vec![])).unwrap();
    let web = vrf(
        0,
        Posture::Enforced,
        vec![rule("web", Tcp, 80..=80, &["192.0.2.1"])],
    );
    gate.apply(web.clone()).unwrap();
    assert_eq!(gate.status().unwrap().vrfs[0].rules[0].hits.passed, 0);
}

#[test]
fn a_lost_record_loses_names_and_counters_but_opens_nothing() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    for entry in fs::read_dir(sandbox.run_dir()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let mut gate = sandbox.open().unwrap().unwrap();
    assert!(passes(&gate, "192.0.2.1:22"));
    gate.apply(vrf(0, Posture::Enforced, vec![])).unwrap();
    assert!(!passes(&gate, "192.0.2.1:22"));
    gate.detach().unwrap();
    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn a_store_that_is_no_bpffs_is_refused_with_the_command_that_helps() {
    let sandbox = Sandbox::new();
    let elsewhere = vrfgate_ebpf::Store::new(sandbox.run_dir(), sandbox.run_dir());
    let Err(error) = Gate::attach(&elsewhere, sandbox.netns(), &ssh(), &Capacity::default()) else {
        panic!("attached without a BPF file system");
    };
    assert!(error.to_string().contains("mount -t bpf bpf"), "{error}");
    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn a_sysctl_that_something_else_changes_is_set_again_and_said() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&ssh());
    assert_eq!(gate.keep().unwrap(), []);
    sandbox.set_sysctl("tcp", false);
    sandbox.set_sysctl("udp", true);
    let values = |tcp, udp| L3mdevAccept {
        tcp: Some(tcp),
        udp: Some(udp),
    };
    let mended = Repaired::Sysctls {
        found: values(false, true),
        set: values(true, false),
    };
    assert_eq!(gate.keep().unwrap(), [mended]);
    assert_eq!(sandbox.sysctls(), [true, false]);
}

#[test]
fn what_is_left_of_a_gate_without_link_and_record_counts_as_formerly_closed() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    fs::remove_file(sandbox.pins().join("link")).unwrap();
    fs::remove_dir_all(sandbox.run_dir()).unwrap();
    sandbox.attach(&ssh()).detach().unwrap();
    assert!(!sandbox.sysctl("tcp"));
}
