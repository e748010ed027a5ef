//! The Debian package, installed, used, upgraded and purged.

mod machine;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use vrfgate_e2e::Lab;

use self::machine::Machine;
use crate::{leaks::open_tcp, net::V4, suite::tests};

tests! {
    "package";
    once:
        it_serves_where_it_is_installed_and_purged_leaves_the_machine_as_it_was,
        an_upgrade_keeps_the_gate_and_refuses_no_connection;
}

/// The package, and one of a later version.
#[derive(Debug)]
pub struct Packages {
    pub now: PathBuf,
    pub next: PathBuf,
}

static PACKAGES: OnceLock<Packages> = OnceLock::new();

/// Which packages these tests are about.
pub fn use_packages(packages: Packages) {
    let _ = PACKAGES.set(packages);
}

fn packages() -> &'static Packages {
    PACKAGES
        .get()
        .unwrap_or_else(|| panic!("run these tests with --deb and --next-deb; run-lab.sh does"))
}

fn it_serves_where_it_is_installed_and_purged_leaves_the_machine_as_it_was() {
    let (lab, client) = V4.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp("0.0.0.0:22"),
        lab.listen("web").tcp("0.0.0.0:80"),
    ];
    let mut machine = Machine::of(&lab);
    let before = (lab.routing(), machine.written());

    install(&machine, &packages().now);

    assert!(machine.path("etc/vrfgate/blue.yaml.example").exists());
    assert_eq!(
        tcp_l3mdev_accept(&lab),
        "0",
        "nobody has asked for anything"
    );
    give_leaks(&machine);
    machine.start_service();
    client.connect(V4.main(22)).should_reach("ssh");
    client.connect(V4.main(80)).should_be_refused();
    machine.stop_service();
    client.connect(V4.main(22)).should_reach("ssh");

    let said = machine.run("dpkg", &["--purge", "vrfgate"]);

    assert!(said.contains("the gate is gone"), "{said}");
    client.connect(V4.main(22)).should_be_refused();
    assert_eq!(tcp_l3mdev_accept(&lab), "0");
    for path in ["etc/vrfgate", "run/vrfgate", "sys/fs/bpf/vrfgate"] {
        assert!(!machine.path(path).exists(), "/{path} is there");
    }
    assert_eq!((lab.routing(), machine.written()), before);
}

fn an_upgrade_keeps_the_gate_and_refuses_no_connection() {
    let (lab, client) = V4.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp("0.0.0.0:22"),
        lab.listen("web").tcp("0.0.0.0:80"),
    ];
    let mut machine = Machine::of(&lab);
    install(&machine, &packages().now);
    give_leaks(&machine);
    machine.start_service();
    let installed = version(&machine);
    let load = client.keep_connecting(&[V4.main(22)], &[V4.main(80)]);
    load.go_on(20);

    install(&machine, &packages().next);
    // Which is what the package has systemd do.
    machine.stop_service();
    load.go_on(20);
    machine.start_service();
    load.go_on(20);

    load.should_have_met_no_surprise();
    assert_ne!(version(&machine), installed);
    assert!(machine.path("etc/vrfgate/blue.yaml").exists());
}

fn install(machine: &Machine, package: &Path) {
    // The machine may not see where the package was built: it has directories of its own.
    let copy = "tmp/vrfgate.deb";
    fs::copy(package, machine.path(copy)).unwrap_or_else(|error| panic!("{error}"));
    machine.run("dpkg", &["--install", &format!("/{copy}")]);
}

fn give_leaks(machine: &Machine) {
    let leaks = machine.path("etc/vrfgate/blue.yaml");
    fs::write(&leaks, open_tcp("BLUE", &V4, &[22])).unwrap_or_else(|error| panic!("{error}"));
}

fn version(machine: &Machine) -> String {
    machine.run(
        "dpkg-query",
        &["--show", "--showformat=${Version}", "vrfgate"],
    )
}

fn tcp_l3mdev_accept(lab: &Lab) -> String {
    lab.sysctl("net.ipv4.tcp_l3mdev_accept")
}
