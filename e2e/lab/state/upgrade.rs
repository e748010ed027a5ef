//! One version of vrfgate takes over from another.

use std::{fs, io};

use serde_json::Value;
use vrfgate_abi::LAYOUT;
use vrfgate_e2e::Vrfgate;

use crate::{leaks::open_tcp, net::Net, suite::tests};

/// The map layout of this version, and one before it.
const LAYOUTS: [u32; 2] = [LAYOUT, LAYOUT - 1];

tests! {
    "state";
    each family:
        connections_come_in_and_none_that_should_not_while_versions_change;
    once:
        an_upgrade_is_told_and_keeps_the_counters;
}

fn connections_come_in_and_none_that_should_not_while_versions_change(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _listeners = [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));

    let load = client.keep_connecting(&[net.main(22)], &[net.main(80)]);
    for _ in 0..5 {
        for layout in LAYOUTS {
            load.go_on(20);
            vrfgate.terminate();
            give_to_another_version(&vrfgate, layout);
            vrfgate.restart();
        }
    }
    load.go_on(20);

    load.should_have_met_no_surprise();
}

fn an_upgrade_is_told_and_keeps_the_counters() {
    let net = &crate::net::V4;
    let (lab, client) = net.one_vrf();
    let _ssh = lab.listen("ssh").tcp(net.any(22));
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    client.connect(net.main(22)).should_reach("ssh");
    vrfgate.terminate();
    let before = let_in(&vrfgate);
    give_to_another_version(&vrfgate, LAYOUT);

    vrfgate.restart();

    vrfgate.should_say("was another version's");
    assert!(before > 0 && let_in(&vrfgate) >= before);
}

/// Makes the gate one that another version has put in, with this map layout.
fn give_to_another_version(vrfgate: &Vrfgate, layout: u32) {
    let given = || -> io::Result<()> {
        for entry in fs::read_dir(vrfgate.bpffs().join("vrfgate"))? {
            let pins = entry?.path();
            let ours = pins.join(format!("v{LAYOUT}"));
            if ours.is_dir() {
                fs::rename(ours, pins.join(format!("v{layout}")))?;
            }
        }
        for entry in fs::read_dir(vrfgate.run_dir())? {
            let path = entry?.path();
            let Ok(mut record) = serde_json::from_slice::<Value>(&fs::read(&path)?) else {
                continue;
            };
            if record.get("build").is_some() {
                record["build"] = 1.into();
                record["layout"] = layout.into();
                fs::write(&path, record.to_string())?;
            }
        }
        Ok(())
    };
    given().unwrap_or_else(|error| panic!("changing what vrfgate has written: {error}"));
}

fn let_in(vrfgate: &Vrfgate) -> u64 {
    let status = vrfgate.status();
    let hits = &status["gate"]["vrfs"][0]["rules"][0]["hits"];
    hits["passed"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status:#}"))
}
