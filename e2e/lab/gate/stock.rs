//! What no leak lists is as it is without vrfgate: every client meets what it meets on a stock kernel, both sysctls
//! being 0. Measured first without a gate and then with one, cell by cell.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    thread,
    time::Duration,
};

use vrfgate_e2e::{Host, Lab, Listener, Outcome, ReplyFrom, Transport};

use crate::{leaks::leak, net::Net, suite::tests};

tests! {
    "gate";
    each family:
        what_is_not_listed_is_as_on_a_stock_kernel_to_clients_everywhere,
        what_is_not_listed_is_as_on_a_stock_kernel_with_the_local_table_last;
}

/// How long an answer may take before it counts as none. A connection that isn't made, and any difference, is tried
/// again with a longer timeout.
const SHORTLY: Duration = Duration::from_millis(300);
const PATIENTLY: Duration = Duration::from_secs(3);

/// Link-local addresses, and the devices that have them.
const LINK_LOCAL: [(&str, &str); 3] = [
    ("fe80::b1", "blue1"),
    ("fe80::b2", "blue2"),
    ("fe80::1a", "lan"),
];

/// The port that a leak opens, of every address.
const LISTED: u16 = 20;

fn what_is_not_listed_is_as_on_a_stock_kernel_to_clients_everywhere(net: &Net) {
    compare(&World::new(net));
}

fn what_is_not_listed_is_as_on_a_stock_kernel_with_the_local_table_last(net: &Net) {
    let world = World::new(net);
    net.put_local_table_last(&world.lab);
    compare(&world);
}

fn compare(world: &World) {
    let stock = world.measure();
    let vrfgate = world.lab.vrfgate();
    vrfgate.apply(&leaks());
    let gated = world.measure();
    assert_eq!(stock.len(), gated.len());

    let differ = |(before, now): (&Measured, &Measured)| {
        assert_eq!(before.cell, now.cell);
        if before.cell.port == LISTED || before.fate == now.fate {
            return None;
        }
        // A machine that is busy may have been late with an answer.
        let again = world.look_again(&before.cell);
        (again != before.fate).then(|| {
            let Measured { cell, fate } = before;
            format!("{cell}: {fate} without a gate, {again} with one")
        })
    };
    let differences: Vec<String> = stock.iter().zip(&gated).filter_map(differ).collect();
    assert!(
        differences.is_empty(),
        "{} of {} cells:\n{}\n{}",
        differences.len(),
        stock.len(),
        differences.join("\n"),
        vrfgate.status_text(),
    );

    // That something was measured at all, and that the gate is one.
    let reached = |measured: &[Measured], client: &str, port: u16| {
        let of_it = measured
            .iter()
            .filter(|it| it.cell.client.name() == client && it.cell.port == port);
        of_it
            .filter(|it| matches!(it.fate.0, Outcome::Reached(_)))
            .count()
    };
    for client in ["outside", "BLUE", "blue1"] {
        assert!(
            reached(&gated, client, LISTED) > reached(&stock, client, LISTED),
            "{client} reaches what is listed"
        );
        assert!(
            reached(&stock, client, 23) > 0,
            "{client} reaches BLUE's own"
        );
    }
}

/// One port is open on all addresses, TCP and UDP, so that both sysctls are 1.
fn leaks() -> String {
    let services = ["TCP", "UDP"].map(|protocol| {
        format!(
            "{{name: {}, protocol: {protocol}, port: {LISTED}, addresses: [0.0.0.0/0, \"::/0\"]}}",
            protocol.to_lowercase()
        )
    });
    leak("BLUE", &format!("services: [{}]", services.join(", ")))
}

/// What a client sees, and whether a UDP server heard it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fate(Outcome, bool);

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(outcome, heard) = self;
        write!(
            f,
            "{outcome}{}",
            if *heard { " (and was heard)" } else { "" }
        )
    }
}

struct Measured {
    cell: Cell,
    fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    client: Client,
    transport: Transport,
    to: SocketAddr,
    port: u16,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            transport,
            to,
            port: _,
        } = self;
        write!(f, "{transport:?} from {} to {to}", client.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Behind `blue1`.
    Outside,
    /// A process of the router, bound to this, or to nothing.
    Local(Option<&'static str>),
}

impl Client {
    const ALL: [Self; 8] = [
        Self::Outside,
        Self::Local(None),
        Self::Local(Some("BLUE")),
        Self::Local(Some("blue1")),
        Self::Local(Some("blue2")),
        Self::Local(Some("RED")),
        Self::Local(Some("red1")),
        Self::Local(Some("lan")),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Local(None) => "no device",
            Self::Local(Some(device)) => device,
        }
    }
}

/// A router with an address of every kind, and a server of every kind.
struct World {
    lab: Lab,
    outside: Host,
    targets: Vec<IpAddr>,
    /// Link-local addresses, each with its device.
    link_local: Vec<SocketAddrV6>,
    ports: Vec<Port>,
}

/// A port's servers; of UDP, those that count their clients.
struct Port {
    number: u16,
    _tcp: Vec<Listener>,
    udp: Vec<Listener>,
}

impl World {
    fn new(net: &Net) -> Self {
        let lab = Lab::new();
        let blue = lab.vrf("BLUE");
        let (own, other, on_vrf, of_red, link_local) = if net.main.is_ipv4() {
            let own = ["10.0.0.1/24", "10.2.0.1/24", "10.3.0.1/32", "10.1.0.1/24"];
            (own[0], own[1], own[2], own[3], [].as_slice())
        } else {
            let own = [
                "2001:db8:a::1/64",
                "2001:db8:b::1/64",
                "2001:db8:c::1/128",
                "2001:db8:d::1/64",
            ];
            (own[0], own[1], own[2], own[3], LINK_LOCAL.as_slice())
        };
        let outside = blue.slave("blue1", own).client(&net.client_cidr());
        let flags = if net.main.is_ipv4() { "" } else { "nodad" };
        let vrf = lab.vrf("RED");
        drop(vrf);
        lab.ip(&format!(
            "link add blue2 type bridge\n\
             link add port2 type dummy\n\
             link set port2 master blue2\n\
             link set port2 up\n\
             link set blue2 master BLUE\n\
             link set blue2 up\n\
             link add red1 type dummy\n\
             link set red1 master RED\n\
             link set red1 up\n\
             address add {other} dev blue2 {flags}\n\
             address add {on_vrf} dev BLUE {flags}\n\
             address add {of_red} dev red1 {flags}"
        ));
        if net.main.is_ipv4() {
            // As one does for a loopback address inside the VRF.
            lab.ip("address add 127.1.0.1/8 dev BLUE");
        }
        for (address, device) in link_local {
            lab.ip(&format!("address add {address}/64 dev {device} nodad"));
        }
        let loopback = if net.main.is_ipv4() {
            vec!["127.0.0.1", "127.1.0.1"]
        } else {
            vec!["::1"]
        };
        let address = |cidr: &str| net.parse(cidr.split('/').next().unwrap_or(cidr));
        let targets: Vec<IpAddr> = [own, other, on_vrf, of_red]
            .into_iter()
            .chain(loopback)
            .map(address)
            .chain([net.main])
            .collect();
        let link_local = link_local
            .iter()
            .filter_map(|(address, device)| {
                let address = address.parse().ok()?;
                Some(SocketAddrV6::new(address, 0, 0, lab.ifindex(device)))
            })
            .collect();
        let ports = ports(&lab, net, net.parse(own.split('/').next().unwrap_or(own)));
        Self {
            lab,
            outside,
            targets,
            link_local,
            ports,
        }
    }

    /// Tries everything, the ports side by side.
    fn measure(&self) -> Vec<Measured> {
        thread::scope(|scope| {
            let ports: Vec<_> = self
                .ports
                .iter()
                .map(|port| scope.spawn(move || self.measure_port(port)))
                .collect();
            let joined = ports.into_iter().map(|port| {
                port.join()
                    .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
            });
            joined.flatten().collect()
        })
    }

    fn measure_port(&self, port: &Port) -> Vec<Measured> {
        let mut measured = Vec::new();
        for cell in self.cells(port) {
            let mut fate = self.fate(&cell, port, SHORTLY);
            if fate.0 == Outcome::TimedOut && cell.transport == Transport::Tcp {
                fate = self.fate(&cell, port, PATIENTLY);
            }
            measured.push(Measured { cell, fate });
        }
        measured
    }

    fn cells(&self, port: &Port) -> Vec<Cell> {
        let targets = self
            .targets
            .iter()
            .map(|address| SocketAddr::new(*address, port.number));
        let link_local = self.link_local.iter().map(|address| {
            let mut address = *address;
            address.set_port(port.number);
            SocketAddr::V6(address)
        });
        let targets: Vec<SocketAddr> = targets.chain(link_local).collect();
        let mut cells = Vec::new();
        for client in Client::ALL {
            for transport in [Transport::Tcp, Transport::Udp] {
                cells.extend(targets.iter().map(|to| Cell {
                    client,
                    transport,
                    to: *to,
                    port: port.number,
                }));
            }
        }
        // The other end of blue1 has another number for its link.
        cells.retain(|cell| {
            cell.client != Client::Outside
                || !matches!(cell.to, SocketAddr::V6(to) if to.scope_id() != 0)
        });
        cells
    }

    fn fate(&self, cell: &Cell, port: &Port, patience: Duration) -> Fate {
        let heard = || port.udp.iter().map(Listener::served).sum::<u32>();
        let before = heard();
        let host = match cell.client {
            Client::Outside => &self.outside,
            Client::Local(_) => &*self.lab,
        };
        let attempt = match cell.transport {
            Transport::Udp => host.ask(cell.to),
            _ => host.connect(cell.to),
        };
        let attempt = match cell.client {
            Client::Local(Some(device)) => attempt.bound_to(device),
            _ => attempt,
        };
        let outcome = match attempt.outcome_within(patience) {
            // The kernel limits how often it says so.
            Outcome::Unreachable => Outcome::TimedOut,
            outcome => outcome,
        };
        Fate(outcome, heard() != before)
    }

    fn look_again(&self, cell: &Cell) -> Fate {
        let port = self.ports.iter().find(|port| port.number == cell.port);
        let port = port.unwrap_or_else(|| panic!("{cell}: no such port"));
        self.fate(cell, port, PATIENTLY)
    }
}

/// Servers of every kind, each on a port of its own.
fn ports(lab: &Lab, net: &Net, own: IpAddr) -> Vec<Port> {
    let any: IpAddr = std::net::Ipv6Addr::UNSPECIFIED.into();
    let loopback = net.parse(if net.main.is_ipv4() {
        "127.0.0.1"
    } else {
        "::1"
    });
    let kinds: [(u16, &str, Option<&str>, IpAddr); 12] = [
        (LISTED, "listed", None, any),
        (21, "unbound", None, any),
        (22, "unbound of one family", None, net.any),
        (23, "on BLUE", Some("BLUE"), any),
        (24, "on blue1", Some("blue1"), any),
        (25, "on blue2", Some("blue2"), net.any),
        (26, "on RED", Some("RED"), any),
        (27, "on lan", Some("lan"), any),
        (28, "unbound on BLUE's address", None, own),
        (29, "on BLUE, on its address", Some("BLUE"), own),
        (30, "unbound on the main address", None, net.main),
        (31, "unbound on the loopback address", None, loopback),
    ];
    let plan = |name: &str, device: Option<&str>| {
        // A server may bind an address that is another domain's, as most can after `ip vrf exec`.
        let plan = lab
            .listen(name)
            .replying_from(ReplyFrom::AskedAddressAndInterface);
        match device {
            Some(device) => plan.bound_to(device),
            None => plan,
        }
    };
    lab.set_sysctl("net.ipv4.ip_nonlocal_bind", "1");
    lab.set_sysctl("net.ipv6.ip_nonlocal_bind", "1");
    let mut ports: Vec<Port> = kinds
        .into_iter()
        .map(|(number, name, device, address)| Port {
            number,
            _tcp: vec![plan(name, device).tcp((address, number))],
            udp: vec![plan(name, device).udp((address, number))],
        })
        .collect();
    // None that an unbound socket shares with a bound one: of those, with the sysctl at 1, the kernel takes either.
    ports.push(Port {
        number: 32,
        _tcp: Vec::new(),
        udp: Vec::new(),
    });
    ports
}
