//! A kernel that is locked down for confidentiality (lockdown(7)): no program may read its memory, so nothing traces sockets.
//! The way there is one-way, until the next boot: these tests run where their group is asked for by name, in a boot of its own.

use std::{fs, path::Path};

use nix::mount::{MsFlags, mount};

use crate::{leaks::open_tcp, net::Net, suite::tests};

tests! {
    "locked";
    each family:
        the_gate_works_and_doctor_says_beforehand_that_nothing_traces_sockets;
    once:
        the_kernel_is_locked_down;
}

const SECURITY: &str = "/sys/kernel/security";

/// Locks the kernel down.
pub fn lock() -> Result<(), String> {
    // What the lab's VM is started with. Somebody's own machine would stay locked down until its next boot.
    let started_with = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if !started_with.contains("virtme") {
        return Err("this is not the lab's VM (e2e/run-lab.sh 6.12 -- --groups locked)".to_owned());
    }
    let lockdown = Path::new(SECURITY).join("lockdown");
    if !lockdown.exists() {
        let none = None::<&str>;
        mount(
            Some("securityfs"),
            SECURITY,
            Some("securityfs"),
            MsFlags::empty(),
            none,
        )
        .map_err(|error| format!("mounting securityfs: {error}"))?;
    }
    fs::write(&lockdown, "confidentiality")
        .map_err(|error| format!("{}: {error}", lockdown.display()))
}

fn the_kernel_is_locked_down() {
    let said = fs::read_to_string(Path::new(SECURITY).join("lockdown"));
    let said = said.unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains("[confidentiality]"), "{said}");
}

fn the_gate_works_and_doctor_says_beforehand_that_nothing_traces_sockets(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let _early = lab.listen("early").bound_to("BLUE").tcp(net.any(179));
    let mut vrfgate = lab.vrfgate();
    let output = vrfgate.call(&["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success()
            && said.contains("note     the kernel is locked down")
            && said.contains("at intervals"),
        "{said}"
    );

    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    client.connect(net.main(22)).should_reach("ssh");
    client.connect(net.main(80)).should_be_refused();
    client.connect(net.router(179)).should_reach("early");
    let _late = lab.listen("late").bound_to("BLUE").tcp(net.any(180));
    client.connect(net.router(180)).should_soon_reach("late");
    let status = vrfgate.status();
    assert_eq!(status["gate"]["tracing"], false, "{status:#}");
}
