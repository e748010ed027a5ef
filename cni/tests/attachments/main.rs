//! What attachments do to the gate of a namespace, and what is left after them. This kernel may lack VRFs: the facts are made
//! up, the gate is real.

#[path = "../common/mod.rs"]
mod common;

mod agent;
mod gc_and_status;
mod in_force;
mod leaving;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use common::{CONTAINER, Sandbox, key};
use serde_json::{Value, json};
use vrfgate_cni::{
    agent::{Answer, Event, Notice, TIMEOUT, WORKING_EVERY},
    bring_in_line, rule_set,
};
use vrfgate_core::{Attachment, Link, LinkKind, LocalAddress, NodeFacts, contradiction, left_out};
use vrfgate_ebpf::{Gate, TestPacket};

/// A pod with an interface in the main domain, and one in each of two VRFs. `BLUE` has the ifindex of test packets.
fn facts() -> NodeFacts {
    let link = |ifindex, name: &str, is_vrf, master| Link {
        ifindex,
        name: name.into(),
        kind: if is_vrf {
            LinkKind::Vrf {
                table: Some(1000 + ifindex),
            }
        } else {
            LinkKind::Other
        },
        master,
    };
    let address = |ifindex, address: &str| LocalAddress {
        ifindex,
        address: address.parse().unwrap(),
    };
    NodeFacts {
        links: vec![
            link(1, "lo", false, None),
            link(2, "eth0", false, None),
            link(0, "BLUE", true, None),
            link(3, "net1", false, Some(0)),
            link(7, "RED", true, None),
            link(8, "net2", false, Some(7)),
        ],
        addresses: vec![
            address(1, "127.0.0.1"),
            address(1, "::1"),
            address(2, "10.244.0.5"),
            address(2, "2001:db8::5"),
            address(2, "fe80::5"),
            address(2, "169.254.20.10"),
            address(3, "10.1.0.5"),
            address(8, "10.2.0.5"),
        ],
        prefixes: Vec::new(),
    }
}

fn tcp(name: &str, port: u16) -> Value {
    json!([{"name": name, "protocol": "TCP", "port": port}])
}

/// Attaches as ADD does: first the record, then the gate.
fn attach(sandbox: &Sandbox, attachment: &Attachment) {
    sandbox.attachments().write(attachment).unwrap();
    settle(sandbox).unwrap();
}

fn settle(sandbox: &Sandbox) -> Result<(), vrfgate_ebpf::Error> {
    let netns = sandbox.netns();
    let attachments = sandbox.attachments().in_netns(netns.cookie().unwrap());
    bring_in_line(&sandbox.store(), &netns, &attachments.unwrap(), &facts())
}

/// Whether a SYN from a client of BLUE to this port of the pod's main address gets through.
fn lets_in(sandbox: &Sandbox, port: u16) -> bool {
    let gate = Gate::open(&sandbox.store(), sandbox.netns())
        .unwrap()
        .unwrap();
    let packet = TestPacket {
        family: 2,
        protocol: 6,
        remote_ip4: u32::from_ne_bytes([10, 1, 0, 9]),
        remote_port: 4000_u16.to_be(),
        local_ip4: u32::from_ne_bytes([10, 244, 0, 5]),
        local_port: port.into(),
        ..TestPacket::default()
    };
    gate.test_run(&packet, 1).unwrap().verdict == 1
}

fn tcp_sysctl(sandbox: &Sandbox) -> bool {
    sandbox.sysctls()[0]
}

fn nothing() -> Vec<PathBuf> {
    Vec::new()
}
