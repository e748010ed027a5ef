//! What the kernel lists of a namespace is whole, whatever happens meanwhile.

mod common;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::Sandbox;
use proptest::prelude::*;
use vrfgate_core::LinkKind;
use vrfgate_ebpf::netlink::{self, Attributes, Message, Messages, Socket, addresses, link, links};
use vrfgate_sandbox::Started;

/// Runs commands of `ip -batch`, whatever becomes of each.
fn ip(commands: &str) {
    let mut ip = Command::new("ip")
        .args(["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .started()
        .unwrap();
    std::io::Write::write_all(&mut ip.stdin.take().unwrap(), commands.as_bytes()).unwrap();
    ip.wait().unwrap();
}

fn numbered(range: std::ops::Range<u32>, command: impl Fn(u32) -> String) -> String {
    range.map(|number| command(number) + "\n").collect()
}

/// What of the numbered devices and addresses that `there` put there a list lacks.
fn lacking(socket: &mut Socket) -> Result<Vec<String>, netlink::Error> {
    let links: BTreeSet<String> = links(socket)?.into_iter().map(|link| link.name).collect();
    let addresses: BTreeSet<IpAddr> = addresses(socket)?
        .into_iter()
        .map(|local| local.address)
        .collect();
    let lacking_links = (0..DEVICES)
        .map(|n| format!("stays{n}"))
        .filter(|name| !links.contains(name));
    let lacking_addresses = (0..ADDRESSES)
        .map(|n| format!("2001:db8::{n:x}"))
        .filter(|address| !addresses.contains(&address.parse().unwrap()));
    Ok(lacking_links.chain(lacking_addresses).collect())
}

const DEVICES: u32 = 60;
const ADDRESSES: u32 = 1000;

#[test]
fn lists_hold_what_was_there_throughout_while_links_and_addresses_come_and_go_by_the_hundred() {
    let sandbox = Sandbox::new();
    let netns = sandbox.netns();
    let inside = |commands: &str| netns.run(|| ip(commands)).unwrap();
    inside(&numbered(0..DEVICES, |n| {
        format!("link add stays{n} type veth peer name peer{n}")
    }));
    inside(&numbered(0..ADDRESSES, |n| {
        format!("addr add 2001:db8::{n:x}/64 dev stays0 nodad")
    }));
    let mut socket = Socket::route(&netns).unwrap();
    assert_eq!(lacking(&mut socket).unwrap(), [""; 0]);

    let over = AtomicBool::new(false);
    let (mut whole, mut lacked) = (0, Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The kernel puts new addresses before old ones, and counts how many it has listed.
                for change in ["add", "del"] {
                    inside(&numbered(0..200, |n| {
                        format!("addr {change} 2001:db8:1::{n:x}/64 dev stays0 nodad")
                    }));
                    inside(&numbered(0..50, |n| {
                        format!("link {change} comes{n} type veth peer name goes{n}")
                    }));
                }
            }
        });
        for _ in 0..300 {
            match lacking(&mut socket) {
                Ok(lacking) if lacking.is_empty() => whole += 1,
                Ok(lacking) => {
                    lacked = lacking;
                    break;
                }
                // That there is no whole list is an answer, too.
                Err(_) => {}
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(lacked, [""; 0], "after {whole} whole lists");
    assert!(whole > 100, "{whole} of 300 were whole");
}

/// `ip -d link show BLUE` of Linux 6.1 as `strace` shows it, without its counters.
fn blue() -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let info = [
        attribute(1, b"vrf\0"),
        attribute(2, &attribute(1, &10_u32.to_ne_bytes())),
    ];
    [
        [
            &[0; 2][..],
            &1_u16.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
            &0x10_4c1_u32.to_ne_bytes(),
            &0_u32.to_ne_bytes(),
        ]
        .concat(),
        attribute(3, b"BLUE\0"),
        attribute(0x8012, &info.concat()),
        // Of a length that no reader expects.
        attribute(23, &[1, 2, 3]),
    ]
    .concat()
}

fn message(body: &[u8]) -> Message<'_> {
    Message {
        kind: 16,
        flags: 0,
        sequence: 0,
        body,
    }
}

#[test]
fn a_vrf_is_read_past_attributes_that_make_no_sense() {
    let link = link(&message(&blue())).unwrap();
    assert_eq!((link.ifindex, link.name.as_str()), (7, "BLUE"));
    assert_eq!(link.kind, LinkKind::Vrf { table: Some(10) });
    assert!(link.works);
}

#[test]
fn a_vrf_whose_table_cannot_be_read_is_a_vrf_of_an_unknown_table() {
    let whole = blue();
    let table = whole
        .windows(8)
        .position(|bytes| bytes == [8, 0, 1, 0, 10, 0, 0, 0])
        .unwrap();
    for (at, length) in [(table, 6), (table, 200), (table - 4, 200)] {
        let mut spoiled = whole.clone();
        spoiled[at] = length;
        assert_eq!(
            link(&message(&spoiled)).unwrap().kind,
            LinkKind::Vrf { table: None },
            "length {length} at {at}"
        );
    }
}

fn walk(attributes: Attributes<'_>, depth: u32) {
    for attribute in attributes.flatten() {
        let _ = (attribute.text(), attribute.u32(), attribute.address());
        if depth > 0 {
            walk(attribute.nested(), depth - 1);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for message in Messages::of(&bytes).flatten() {
            let _ = link(&message);
        }
        let _ = link(&message(&bytes));
        walk(message(&bytes).attributes(0), 3);
    }

    #[test]
    fn no_spoiled_byte_makes_a_reader_panic(at in 0..200_usize, byte in any::<u8>()) {
        let mut bytes = blue();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = link(&message(&bytes));
    }
}
