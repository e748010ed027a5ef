//! The namespace as it is laid out: devices, addresses and clients. Written down once, for the lab to make and for the
//! oracle to know.

use std::net::IpAddr;

use vrfgate_e2e::{Host, Lab};

use super::prefix::address;
use crate::net::{V4, V6};

/// All have the very same addresses, so that a rule which is looked up for the wrong one is found out.
pub const VRFS: [&str; 4] = ["BLUE", "RED", "GREEN", "GREY"];

/// A device of the router inside a VRF, with a client behind it.
#[derive(Clone, Copy, Debug)]
pub struct Slave {
    pub name: &'static str,
    /// Place in [`VRFS`].
    pub vrf: usize,
    /// The router's addresses on it, with their lengths. Global ones first: each is the client's gateway.
    own: [&'static str; 2],
    own_on_the_link: &'static [&'static str],
    clients: &'static [&'static str],
    clients_on_the_link: &'static [&'static str],
}

const fn first(name: &'static str, vrf: usize) -> Slave {
    Slave {
        name,
        vrf,
        own: ["10.0.0.1/24", "2001:db8:a::1/64"],
        own_on_the_link: &["169.254.7.1/24", "fe80::1/64"],
        clients: &[
            "10.0.0.2/24",
            "10.0.0.3/24",
            "2001:db8:a::2/64",
            "2001:db8:a::3/64",
        ],
        clients_on_the_link: &["169.254.7.2/24", "fe80::2/64", "fe80::3/64"],
    }
}

/// BLUE has two: a socket that is bound to one doesn't hear the other.
pub const SLAVES: [Slave; 5] = [
    first("blue1", 0),
    first("red1", 1),
    first("green1", 2),
    first("grey1", 3),
    Slave {
        name: "blue2",
        vrf: 0,
        own: ["10.0.1.1/24", "2001:db8:b::1/64"],
        own_on_the_link: &["fe80::1/64"],
        clients: &["10.0.1.2/24", "2001:db8:b::2/64"],
        clients_on_the_link: &["fe80::2/64"],
    },
];

/// Devices of the main domain and their addresses.
const MAIN: [(&str, &[&str]); 2] = [
    // `lan` has 192.0.2.1 and 2001:db8:1::1 already.
    ("lan", &["192.0.2.7/24", "2001:db8:1::7/64"]),
    ("dmz", &["198.51.100.1/24", "2001:db8:2::1/64"]),
];

/// Addresses of the main domain that packets go to.
pub const MAIN_ADDRESSES: [&str; 6] = [
    "192.0.2.1",
    "192.0.2.7",
    "198.51.100.1",
    "2001:db8:1::1",
    "2001:db8:1::7",
    "2001:db8:2::1",
];

/// Prefixes that are local as a whole (`AnyIP`), to the main domain, and some addresses inside.
const WHOLE: [&str; 2] = ["203.0.113.0/24", "2001:db8:3::/64"];
pub const WHOLE_ADDRESSES: [&str; 4] = [
    "203.0.113.9",
    "203.0.113.200",
    "2001:db8:3::9",
    "2001:db8:3:0:8000::9",
];

/// The same in each VRF's own table, which no service opens: a prefix that is local as a whole is one of the main
/// domain's. IPv6 only: from such an address the kernel sends no answer of IPv4, as it looks for it in the table of main
/// addresses alone (`__ip_dev_find`).
const WHOLE_OF_VRFS: &str = "2001:db8:d::/64";
pub const WHOLE_ADDRESS_OF_VRFS: &str = "2001:db8:d::9";

/// Of the main domain, and of each VRF's device.
pub const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

/// In which order policy rules have routes looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The kernel's own: local addresses of the main domain, then VRFs' tables.
    LocalFirst,
    /// What guides to VRFs advise: VRFs' tables, then local addresses of the main domain.
    LocalLast,
}

/// The router, and who is behind its slaves, in the order of [`SLAVES`].
pub struct World {
    pub lab: Lab,
    pub clients: Vec<Host>,
    /// Indexes of the slaves.
    pub links: Vec<u32>,
    /// Indexes of what clients reach them by.
    pub links_of_clients: Vec<u32>,
}

impl World {
    pub fn new() -> Self {
        let lab = Lab::new();
        // Unbound sockets may then be bound to addresses of VRFs, and those of VRFs to main addresses.
        for family in ["ipv4", "ipv6"] {
            lab.set_sysctl(&format!("net.{family}.ip_nonlocal_bind"), "1");
        }
        let vrfs = VRFS.map(|name| lab.vrf(name));
        let clients: Vec<Host> = SLAVES
            .iter()
            .map(|slave| {
                let client = vrfs[slave.vrf]
                    .slave(slave.name, &slave.own.join(" "))
                    .client(&slave.clients.join(" "));
                client.ip(&addresses("eth0", slave.clients_on_the_link));
                client
            })
            .collect();
        let mut commands = vec!["link add dmz type dummy\nlink set dmz up\n".to_owned()];
        commands.extend(MAIN.map(|(device, cidrs)| addresses(device, cidrs)));
        commands.extend(WHOLE.map(|prefix| format!("route add local {prefix} dev lo\n")));
        commands.extend(SLAVES.map(|slave| addresses(slave.name, slave.own_on_the_link)));
        // The first slaves are those at the places of the VRFs.
        for ((name, vrf), slave) in VRFS.into_iter().zip(&vrfs).zip(SLAVES) {
            commands.extend([
                format!(
                    "route add local {WHOLE_OF_VRFS} dev {} table {}\n",
                    slave.name,
                    vrf.table()
                ),
                addresses(name, &["127.0.0.1/8", "::1/128"]),
            ]);
        }
        // All at once: starting `ip` is what takes long.
        lab.ip(&commands.concat());
        Self {
            links: SLAVES.iter().map(|it| lab.ifindex(it.name)).collect(),
            links_of_clients: clients.iter().map(|it| it.ifindex("eth0")).collect(),
            lab,
            clients,
        }
    }

    /// From [`Order::LocalFirst`], which it begins with, to [`Order::LocalLast`].
    pub fn put_local_table_last(&self) {
        for family in [V4, V6] {
            family.put_local_table_last(&self.lab);
        }
    }
}

/// Commands that give a device addresses.
fn addresses(device: &str, cidrs: &[&str]) -> String {
    let commands = cidrs.iter().map(|cidr| {
        let flags = if cidr.contains(':') { "nodad" } else { "" };
        format!("address add {cidr} dev {device} {flags}\n")
    });
    commands.collect()
}

impl Slave {
    /// The router's addresses on it, those that mean something on this link only among them.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        alone(self.own.iter().chain(self.own_on_the_link))
    }

    /// The addresses of the client behind it.
    pub fn clients(&self) -> impl Iterator<Item = IpAddr> {
        alone(self.clients.iter().chain(self.clients_on_the_link))
    }
}

/// Places in [`SLAVES`] of those of a VRF.
pub fn slaves_of(vrf: usize) -> impl Iterator<Item = usize> {
    (0..SLAVES.len()).filter(move |slave| SLAVES[*slave].vrf == vrf)
}

/// The addresses that a service of a VRF may open: of the main domain, by itself or as part of a prefix, or on a device
/// of the VRF.
pub fn addresses_for(vrf: usize) -> impl Iterator<Item = IpAddr> {
    let main = MAIN_ADDRESSES.iter().chain(&WHOLE_ADDRESSES);
    let main = main.chain(&LOOPBACK).map(|written| address(written));
    main.chain(slaves_of(vrf).flat_map(|slave| SLAVES[slave].addresses()))
}

/// Whether an address is among [`addresses_for`] a VRF.
pub fn is_for(vrf: usize, wanted: IpAddr) -> bool {
    addresses_for(vrf).any(|address| address == wanted)
}

/// Addresses without their lengths.
fn alone<'a>(cidrs: impl Iterator<Item = &'a &'static str>) -> impl Iterator<Item = IpAddr> {
    cidrs.filter_map(|cidr| Some(address(cidr.split_once('/')?.0)))
}
