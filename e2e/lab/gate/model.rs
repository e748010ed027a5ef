//! The data plane against the model: random rules, random packets, one answer.
//!
//! The rules go to the kernel by the program that users run, and to the model
//! ([`Desired::decide`](vrfgate_operator::compile::Desired::decide)) by the library. The model's idea of the
//! namespace is written down here, so that it owes nothing to vrfgate's reading of netlink.

use std::{env, fmt, net::IpAddr};

use fastrand::Rng;
use vrfgate_e2e::{Host, Lab, Outcome, ReplyFrom};
use vrfgate_operator::{
    api::read_leaks,
    compile::{
        Desired, Link, LinkKind, LocalAddress, NodeFacts, Packet, Protocol, Verdict, check_set,
        compile,
    },
};

use crate::{leaks::leak, suite::tests};

tests! {
    "gate";
    once:
        random_packets_meet_the_fate_that_the_model_foretells;
}

/// Rule sets, and packets tried against each.
const SETS: usize = 3;
const PACKETS: usize = 200;

/// Ports with a live listener each, TCP and UDP. Few, so that random rules often hit them.
const PORTS: [u16; 6] = [20, 21, 22, 23, 24, 25];

/// Addresses that packets go to: of `lan`, of `dmz`, and of the VRF that the client is behind.
const TARGETS: [&str; 8] = [
    "192.0.2.1",
    "192.0.2.7",
    "198.51.100.1",
    "10.0.0.1",
    "2001:db8:1::1",
    "2001:db8:1::7",
    "2001:db8:2::1",
    "2001:db8:a::1",
];

/// Those of the VRFs.
const VRFS_OWN: [&str; 2] = ["10.0.0.1", "2001:db8:a::1"];

/// Addresses that they come from: the same ones behind both VRFs.
const CLIENTS: [&str; 4] = ["10.0.0.2", "10.0.0.3", "2001:db8:a::2", "2001:db8:a::3"];

const LISTED_ADDRESSES: [&str; 7] = [
    "192.0.2.1/32",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "10.0.0.0/24",
    "2001:db8:1::7/128",
    "2001:db8:1::/64",
    "2001:db8:a::/64",
];
const LISTED_SOURCES: [&str; 4] = [
    "10.0.0.2/32",
    "10.0.0.0/24",
    "2001:db8:a::3/128",
    "2001:db8:a::/64",
];

fn random_packets_meet_the_fate_that_the_model_foretells() {
    let seed = env::var("VRFGATE_LAB_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(2);
    let mut random = Rng::with_seed(seed);
    let world = World::new();
    let _listeners = world.listeners();
    let vrfgate = world.lab.vrfgate();
    let facts = world.facts();

    for set in 1..=SETS {
        let (leaks, desired) = rule_set(&mut random, &facts);
        vrfgate.apply(&leaks);
        let wrong: Vec<String> = (0..PACKETS)
            .map(|_| Try::random(&mut random))
            .filter_map(|packet| world.disagreement(&packet, &desired))
            .collect();
        assert!(
            wrong.is_empty(),
            "VRFGATE_LAB_SEED={seed}, rule set {set}: {} of {PACKETS} packets:\n{}\n{leaks}\n{}",
            wrong.len(),
            wrong.join("\n"),
            vrfgate.status_text(),
        );
    }
}

/// A packet to be.
#[derive(Debug)]
struct Try {
    client: Client,
    protocol: Protocol,
    to: IpAddr,
    port: u16,
}

/// Who sends it. VRFs are told by their place in [`VRFS`].
#[derive(Debug)]
enum Client {
    /// A machine behind a VRF.
    Behind { vrf: usize, from: IpAddr },
    /// A process of the router itself, by a socket that is bound to no device.
    Unbound,
    /// The same, by a socket that is bound to a VRF.
    OnVrf { vrf: usize },
    /// The same, by a socket that is bound to the slave of a VRF.
    OnSlave { vrf: usize },
}

impl Client {
    fn random(random: &mut Rng, protocol: Protocol, to: IpAddr) -> Self {
        let vrf = random.usize(..VRFS.len());
        // Between main addresses and sockets inside a VRF there is no way, there or back.
        let to_vrf = VRFS_OWN.map(address).contains(&to);
        match random.u8(..10) {
            0 if !to_vrf => Self::Unbound,
            1..=3 if to_vrf => Self::OnVrf { vrf },
            // The kernel doesn't tell an IPv4 client on a slave of a closed UDP port.
            4..=6 if to_vrf && (to.is_ipv6() || protocol == Protocol::Tcp) => Self::OnSlave { vrf },
            _ => loop {
                let from = address(one_of(random, &CLIENTS));
                if from.is_ipv4() == to.is_ipv4() {
                    return Self::Behind { vrf, from };
                }
            },
        }
    }

    /// The VRF that the packet comes through, and the device that the kernel shows for it.
    fn way(&self, to: IpAddr) -> Way {
        match *self {
            Self::Unbound => Way::Main,
            Self::OnVrf { vrf } | Self::OnSlave { vrf } if to.is_ipv4() => Way::Slave(vrf),
            Self::Behind { vrf, .. } | Self::OnVrf { vrf } | Self::OnSlave { vrf } => Way::Vrf(vrf),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Behind { vrf, from } => write!(f, "{from} in {}", VRFS[vrf]),
            Self::Unbound => f.write_str("the router"),
            Self::OnVrf { vrf } => write!(f, "the router on {}", VRFS[vrf]),
            Self::OnSlave { vrf } => write!(f, "the router on {}", slave_of(VRFS[vrf])),
        }
    }
}

/// What the kernel shows of a packet's way.
enum Way {
    Main,
    Vrf(usize),
    Slave(usize),
}

impl Try {
    fn random(random: &mut Rng) -> Self {
        let to = address(one_of(random, &TARGETS));
        let protocol = one_of(random, &[Protocol::Tcp, Protocol::Udp]);
        Self {
            client: Client::random(random, protocol, to),
            protocol,
            to,
            port: one_of(random, &PORTS),
        }
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            protocol,
            to,
            port,
        } = self;
        write!(f, "{protocol} from {client} to {to} port {port}")
    }
}

const VRFS: [&str; 2] = ["BLUE", "RED"];

/// A router with two VRFs of equal addresses, and two main interfaces.
struct World {
    lab: Lab,
    clients: [Host; 2],
}

impl World {
    fn new() -> Self {
        let lab = Lab::new();
        // Lets the UDP listeners answer from main addresses into a VRF, in IPv6 too, without return routes,
        // which could not serve two VRFs with the same clients.
        lab.set_sysctl("net.ipv6.ip_nonlocal_bind", "1");
        lab.ip("address add 192.0.2.7/24 dev lan\n\
             address add 2001:db8:1::7/64 dev lan nodad\n\
             link add dmz type dummy\n\
             link set dmz up\n\
             address add 198.51.100.1/24 dev dmz\n\
             address add 2001:db8:2::1/64 dev dmz nodad");
        let clients = VRFS.map(|vrf| {
            lab.vrf(vrf)
                .slave(&slave_of(vrf), "10.0.0.1/24 2001:db8:a::1/64")
                .client("10.0.0.2/24 10.0.0.3/24 2001:db8:a::2/64 2001:db8:a::3/64")
        });
        Self { lab, clients }
    }

    fn listeners(&self) -> Vec<vrfgate_e2e::Listener> {
        let mut listeners = Vec::new();
        for port in PORTS {
            listeners.push(self.lab.listen("open").tcp(("::", port)));
            listeners.push(
                self.lab
                    .listen("open")
                    .replying_from(ReplyFrom::AskedAddressAndInterface)
                    .udp(("::", port)),
            );
        }
        listeners
    }

    fn facts(&self) -> NodeFacts {
        let main = ["lan", "dmz"].map(|name| self.link(name, LinkKind::Other, None));
        let mut facts = NodeFacts::default();
        for (link, addresses) in main.into_iter().zip([
            ["192.0.2.1", "192.0.2.7", "2001:db8:1::1", "2001:db8:1::7"].as_slice(),
            &["198.51.100.1", "2001:db8:2::1"],
        ]) {
            add(&mut facts, link, addresses);
        }
        for (vrf, table) in VRFS.into_iter().zip([10, 20]) {
            let master = self.link(vrf, LinkKind::Vrf { table: Some(table) }, None);
            let ifindex = master.ifindex;
            add(&mut facts, master, &[]);
            let slave = self.link(&slave_of(vrf), LinkKind::Other, Some(ifindex));
            add(&mut facts, slave, &["10.0.0.1", "2001:db8:a::1"]);
        }
        facts
    }

    fn link(&self, name: &str, kind: LinkKind, master: Option<u32>) -> Link {
        Link {
            ifindex: self.lab.ifindex(name),
            name: name.to_owned(),
            kind,
            master,
        }
    }

    /// Sends the packet, and says so if its fate is not the model's.
    fn disagreement(&self, packet: &Try, desired: &Desired) -> Option<String> {
        let shown = match packet.client.way(packet.to) {
            Way::Main => "lan".to_owned(),
            Way::Vrf(vrf) => VRFS[vrf].to_owned(),
            Way::Slave(vrf) => slave_of(VRFS[vrf]),
        };
        let verdict = desired.decide(Packet {
            ingress: self.lab.ifindex(&shown),
            protocol: packet.protocol,
            local: packet.to,
            local_port: packet.port,
            remote: match packet.client {
                Client::Behind { from, .. } => from,
                // Who talks to an own address does so from that very address.
                _ => packet.to,
            },
        });
        let foretold = match verdict {
            Verdict::Pass(_) => Outcome::Reached("open".to_owned()),
            Verdict::Refuse(_) => Outcome::Refused,
        };
        let host = match packet.client {
            Client::Behind { vrf, .. } => &self.clients[vrf],
            _ => &*self.lab,
        };
        let to = (packet.to, packet.port);
        let attempt = match packet.protocol {
            Protocol::Tcp => host.connect(to),
            Protocol::Udp => host.ask(to),
        };
        let attempt = match packet.client {
            Client::Behind { from, .. } => attempt.from(from),
            Client::Unbound => attempt,
            Client::OnVrf { vrf } => attempt.bound_to(VRFS[vrf]),
            Client::OnSlave { vrf } => attempt.bound_to(&slave_of(VRFS[vrf])),
        };
        let outcome = attempt.outcome();
        (outcome != foretold).then(|| format!("{packet} {outcome}, model: {verdict:?}"))
    }
}

fn add(facts: &mut NodeFacts, link: Link, addresses: &[&str]) {
    let ifindex = link.ifindex;
    facts.links.push(link);
    facts
        .addresses
        .extend(addresses.iter().map(|written| LocalAddress {
            ifindex,
            address: address(written),
        }));
}

fn slave_of(vrf: &str) -> String {
    format!("{}1", vrf.to_lowercase())
}

/// Leaks for both VRFs, as a user writes them and as the model reads them.
fn rule_set(random: &mut Rng, facts: &NodeFacts) -> (String, Desired) {
    let text: String = VRFS
        .map(|vrf| {
            let mut services: Vec<String> = Vec::new();
            while services.len() < 5 {
                // Some random services contradict others, or themselves. Those are for other tests.
                services.push(random_service(random, services.len()));
                if parse(&leak_of(vrf, &services)).is_none() {
                    services.pop();
                }
            }
            leak_of(vrf, &services)
        })
        .concat();
    let desired = parse(&text).map(|leaks| compile(&leaks, facts));
    let desired = desired.unwrap_or_else(|| panic!("these leaks don't go together:\n{text}"));
    (text, desired)
}

fn leak_of(vrf: &str, services: &[String]) -> String {
    leak(vrf, &format!("services: [{}]", services.join(", ")))
}

fn parse(text: &str) -> Option<Vec<vrfgate_operator::compile::Leak>> {
    let leaks = read_leaks("random", text).ok()?;
    check_set(&leaks).is_empty().then_some(leaks)
}

fn random_service(random: &mut Rng, number: usize) -> String {
    let protocol = one_of(random, &["TCP", "UDP"]);
    let first = one_of(random, &PORTS);
    let last = first + random.u16(0..3);
    let addresses = some_of(random, &LISTED_ADDRESSES);
    let sources = if random.bool() {
        format!(", sources: [{}]", some_of(random, &LISTED_SOURCES))
    } else {
        String::new()
    };
    format!(
        "{{name: s{number}, protocol: {protocol}, port: {first}, endPort: {last}, \
         addresses: [{addresses}]{sources}}}"
    )
}

fn one_of<T: Copy>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(..all.len())]
}

/// A list of one to three of them.
fn some_of(random: &mut Rng, all: &[&str]) -> String {
    let number = random.usize(1..=3);
    let chosen = random.choose_multiple(all.iter(), number);
    let quoted: Vec<String> = chosen.iter().map(|one| format!("\"{one}\"")).collect();
    quoted.join(", ")
}

fn address(written: &str) -> IpAddr {
    written
        .parse()
        .unwrap_or_else(|error| panic!("{written}: {error}"))
}
