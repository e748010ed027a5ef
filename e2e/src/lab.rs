//! The topology: a router with a main routing domain and VRFs, and the clients behind them.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::Host;

/// What every lab's router has in its main routing domain.
const MAIN: &str = "\
link set lo up
link add lan type dummy
link set lan up
address add 192.0.2.1/24 dev lan
address add 2001:db8:1::1/64 dev lan nodad
";

/// A router, which is what a lab is about, in a namespace of its own.
///
/// Its main routing domain has the interface `lan` with 192.0.2.1/24 and `2001:db8:1::1/64`.
/// It is a [`Host`], so it listens and connects.
#[derive(Debug)]
pub struct Lab {
    router: Host,
    tables: AtomicU32,
}

impl std::ops::Deref for Lab {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.router
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A router without VRFs.
    #[must_use]
    pub fn new() -> Self {
        static LABS: AtomicU32 = AtomicU32::new(1);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        Self::of(Host::new(format!("lab{}-{number}", process::id())))
    }

    /// The machine that this program runs on as the router: one that was made for this and goes with it.
    #[must_use]
    pub fn on_this_machine() -> Self {
        Self::of(Host::this("this".to_owned()))
    }

    fn of(router: Host) -> Self {
        for forwarding in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            router.set_sysctl(forwarding, "1");
        }
        // A namespace inherits these from a host that may have been set up with care.
        for name in ["all", "default"] {
            router.set_sysctl(&format!("net.ipv4.conf.{name}.rp_filter"), "0");
        }
        // A refused datagram shall be refused each time: many are sent within one second.
        router.set_sysctl("net.ipv4.icmp_ratelimit", "0");
        router.set_sysctl("net.ipv6.icmp.ratelimit", "0");
        router.ip(MAIN);
        Self {
            router,
            tables: AtomicU32::new(10),
        }
    }

    /// Makes a VRF. The first has routing table 10, the next 20, and so on.
    pub fn vrf(&self, name: &str) -> Vrf<'_> {
        let table = self.tables.fetch_add(10, Ordering::Relaxed);
        self.ip(&format!(
            "link add {name} type vrf table {table}\nlink set {name} up"
        ));
        Vrf {
            lab: self,
            name: name.to_owned(),
            table,
        }
    }

    /// A pod to be: a machine that is not connected to anything.
    #[must_use]
    pub fn pod(&self, name: &str) -> Host {
        self.neighbour(name)
    }

    /// Lets VRF packets reach unbound sockets (`*_l3mdev_accept`), TCP and UDP alike.
    pub fn accept_l3mdev(&self, yes: bool) {
        self.netns().set_l3mdev_accept([yes; 2]);
    }
}

/// A VRF of the router.
#[derive(Debug)]
pub struct Vrf<'lab> {
    lab: &'lab Lab,
    name: String,
    table: u32,
}

impl<'lab> Vrf<'lab> {
    /// Number of its routing table.
    #[must_use]
    pub const fn table(&self) -> u32 {
        self.table
    }

    /// An interface of the router inside this VRF, with addresses separated by spaces. It comes into being
    /// together with the client at its other end.
    pub fn slave(&self, device: &str, addresses: &str) -> Slave<'lab> {
        Slave {
            lab: self.lab,
            vrf: self.name.clone(),
            device: device.to_owned(),
            addresses: addresses.to_owned(),
        }
    }
}

/// An interface of the router inside a VRF that still lacks its other end.
#[derive(Debug)]
#[must_use = "the interface is made together with its client"]
pub struct Slave<'lab> {
    lab: &'lab Lab,
    vrf: String,
    device: String,
    addresses: String,
}

impl Slave<'_> {
    /// The client at the other end, with addresses separated by spaces and the router as its way to
    /// everywhere.
    #[must_use]
    pub fn client(self, addresses: &str) -> Host {
        let Self {
            lab,
            vrf,
            device,
            addresses: own,
        } = self;
        let client = lab.neighbour(&device);
        // First into the VRF: the kernel takes global IPv6 addresses away on enslavement.
        let mut commands = format!(
            "link add {device} type veth peer name eth0 netns {}\n\
             link set {device} master {vrf}\nlink set {device} up\n",
            client.netns().name()
        );
        commands += &add_addresses(&own, &device);
        lab.ip(&commands);

        let mut commands = "link set lo up\nlink set eth0 up\n".to_owned();
        commands += &add_addresses(addresses, "eth0");
        let gateways = own
            .split_whitespace()
            .filter_map(|own| own.split('/').next());
        commands.extend(gateways.map(|gateway| format!("route add default via {gateway}\n")));
        client.ip(&commands);
        client
    }
}

/// A command for each address.
fn add_addresses(addresses: &str, device: &str) -> String {
    let commands = addresses.split_whitespace().map(|address| {
        // Duplicate address detection would keep a new address unusable for a second.
        let flags = if address.contains(':') { "nodad" } else { "" };
        format!("address add {address} dev {device} {flags}\n")
    });
    commands.collect()
}
