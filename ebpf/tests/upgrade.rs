//! A gate that another version of vrfgate has put in, and this one finds.

mod common;

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Sandbox, rule, vrf};
use vrfgate_core::{Posture, Protocol::Tcp, RuleSet};
use vrfgate_ebpf::{Error, Gate, LAYOUT, sk_lookup_programs};

/// Ifindex of `lo`, which stands in for the VRF device.
const LO: u32 = 1;

fn ssh() -> RuleSet {
    vrf(
        LO,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 7022..=7022, &["127.0.0.1"])],
    )
}

/// Gives the gate to another version, with its map layout, or with ours.
fn give_to_another_version(sandbox: &Sandbox, layout: u32) {
    let record = sandbox
        .run_dir()
        .join(format!("{}.json", sandbox.netns().id()));
    let mut content: serde_json::Value =
        serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    content["build"] = 1.into();
    content["layout"] = layout.into();
    fs::write(&record, content.to_string()).unwrap();
    let pins = sandbox.pins();
    fs::rename(
        pins.join(format!("v{LAYOUT}")),
        pins.join(format!("v{layout}")),
    )
    .unwrap();
}

fn listen(sandbox: &Sandbox, on: &str) -> TcpListener {
    sandbox
        .netns()
        .run(|| TcpListener::bind(on).unwrap())
        .unwrap()
}

fn connect(sandbox: &Sandbox, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let timeout = Duration::from_secs(5);
    sandbox
        .netns()
        .run(|| TcpStream::connect_timeout(&to, timeout))
        .unwrap()
}

fn programs(sandbox: &Sandbox) -> Vec<u32> {
    sk_lookup_programs(&sandbox.netns()).unwrap()
}

/// The programs, once there are so many: the kernel detaches a link some time after its last pin is removed.
fn soon_programs(sandbox: &Sandbox, count: usize) -> Vec<u32> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let programs = programs(sandbox);
        if programs.len() == count || Instant::now() > end {
            return programs;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn passed(gate: &Gate) -> u64 {
    gate.status().unwrap().vrfs[0].rules[0].hits.passed
}

#[test]
fn a_gate_of_this_build_is_current_and_one_of_another_build_is_not() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    let gate = sandbox.open().unwrap().unwrap();
    assert!(gate.is_current().unwrap());
    drop(gate);

    give_to_another_version(&sandbox, LAYOUT);

    assert!(!sandbox.open().unwrap().unwrap().is_current().unwrap());
}

#[test]
fn renewing_puts_in_our_program_and_keeps_rules_and_counters() {
    let sandbox = Sandbox::new();
    let _listener = listen(&sandbox, "127.0.0.1:7022");
    drop(sandbox.attach(&ssh()));
    let before = programs(&sandbox);
    connect(&sandbox, 7022).unwrap();
    give_to_another_version(&sandbox, LAYOUT);

    let mut gate = sandbox.open().unwrap().unwrap();
    gate.renew().unwrap();

    let after = programs(&sandbox);
    assert_eq!(after.len(), 2, "{before:?} {after:?}");
    assert_ne!(before, after);
    connect(&sandbox, 7022).unwrap();
    assert_eq!(passed(&gate), 2);
    assert!(gate.is_current().unwrap());
    drop(gate);
    let mut gate = sandbox.open().unwrap().unwrap();
    assert!(gate.is_current().unwrap());
    gate.apply(RuleSet::default()).unwrap();
    gate.detach().unwrap();
    assert!(programs(&sandbox).is_empty());
    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn no_connection_is_lost_and_none_let_in_while_a_gate_is_renewed() {
    let sandbox = Sandbox::new();
    let _listed = listen(&sandbox, "127.0.0.1:7022");
    let _unlisted = listen(&sandbox, "127.0.0.1:7080");
    let mut gate = sandbox.attach(&ssh());
    let (done, attempts) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // As many as the backlog of a listener that accepts nobody: after that, SYNs are dropped.
                if attempts.load(Ordering::Relaxed) < 100 {
                    connect(&sandbox, 7022).expect("a listed port");
                }
                let unlisted = connect(&sandbox, 7080).expect_err("an unlisted port");
                assert_eq!(unlisted.kind(), ErrorKind::ConnectionRefused);
                attempts.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut renewals = 0;
        while (renewals < 20 || attempts.load(Ordering::Relaxed) < 50) && !client.is_finished() {
            gate.renew().unwrap();
            renewals += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(soon_programs(&sandbox, 2).len(), 2);
}

#[test]
fn a_gate_of_an_older_layout_is_replaced_and_its_former_sysctls_are_kept() {
    let sandbox = Sandbox::new();
    sandbox.set_sysctl("udp", true);
    let _listed = listen(&sandbox, "127.0.0.1:7022");
    let _unlisted = listen(&sandbox, "127.0.0.1:7080");
    drop(sandbox.attach(&ssh()));
    give_to_another_version(&sandbox, LAYOUT - 1);
    assert!(matches!(sandbox.open(), Err(Error::OldLayout { .. })));

    let gate = sandbox.attach(&ssh());

    assert_eq!(soon_programs(&sandbox, 2).len(), 2);
    assert_eq!(
        passed(&gate),
        0,
        "counters of another layout were taken for ours"
    );
    connect(&sandbox, 7022).unwrap();
    assert!(connect(&sandbox, 7080).is_err());
    gate.detach().unwrap();
    assert_eq!(sandbox.sysctls(), [false, true]);
}

#[test]
fn looking_for_a_missing_gate_leaves_one_of_an_older_layout_alone() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    give_to_another_version(&sandbox, LAYOUT - 1);
    Gate::close_if_missing(&sandbox.store, &sandbox.netns()).unwrap();
    assert!(sandbox.sysctl("tcp"));
}

#[test]
fn a_gate_of_a_later_layout_is_refused_and_stays() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    give_to_another_version(&sandbox, LAYOUT + 1);
    let before = programs(&sandbox);
    assert!(matches!(sandbox.open(), Err(Error::Layout { .. })));
    assert!(matches!(
        sandbox.try_attach(&ssh()),
        Err(Error::Layout { .. })
    ));
    assert_eq!((programs(&sandbox), sandbox.sysctl("tcp")), (before, true));
}

#[test]
fn a_predecessor_that_a_killed_process_left_attached_goes_with_the_next_one() {
    let sandbox = Sandbox::new();
    drop(sandbox.attach(&ssh()));
    let aside = sandbox.pins().with_file_name("elsewhere");
    fs::rename(sandbox.pins(), &aside).unwrap();
    drop(sandbox.attach(&ssh()));
    let left = format!("{}-new", sandbox.netns().id());
    fs::rename(aside, sandbox.pins().with_file_name(left)).unwrap();
    assert_eq!(programs(&sandbox).len(), 4);

    drop(sandbox.open().unwrap());

    assert_eq!(soon_programs(&sandbox, 2).len(), 2);
}
