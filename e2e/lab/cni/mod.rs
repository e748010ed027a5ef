//! The gate in pods that hold VRFs, by the chained CNI plugin.

mod agent;
mod chain;
mod crowd;
mod late;
mod many;
mod overlap;
mod pod;
mod strangers;
mod whereabouts;

use libtest_mimic::Trial;
use serde_json::{Value, json};

/// All of them.
pub fn tests() -> Vec<Trial> {
    [
        agent::tests(),
        pod::tests(),
        chain::tests(),
        many::tests(),
        crowd::tests(),
        overlap::tests(),
        late::tests(),
        whereabouts::tests(),
        strangers::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A configuration that opens one TCP port to the VRFs of a pod.
fn open(port: u16) -> Value {
    json!({"services": [{"name": "http", "protocol": "TCP", "port": port}]})
}

/// As [`open`], to one VRF.
fn open_to(vrf: &str, port: u16) -> Value {
    let mut config = open(port);
    config["vrf"] = vrf.into();
    config
}
