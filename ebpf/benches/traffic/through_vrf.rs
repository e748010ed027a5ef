//! Traffic through a real VRF: what the gate costs there, beside what people would use instead. Each way serves the
//! same listed service, and all but the first refuse the same unlisted one.
//!
//! In a VM whose clock counts instructions (`vm.sh --icount`), a nanosecond is an instruction, of kernel and user
//! space together.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vrfgate_core::{
    Posture,
    Protocol::{Tcp, Udp},
};
use vrfgate_ebpf::{Capacity, Gate};

use crate::{
    common::{on_addresses, rule, vrf},
    kit::{self, Series},
    load::{Clock, Load, Servers},
    net::{self, Net, PORT, SERVER, service},
};

const VRF: &str = "BLUE";
const UNLISTED: u16 = PORT + 1;
const RELAY: u16 = PORT + 2;

const LOADS: [(Load, u32); 3] = [
    (Load::Requests, 150),
    (Load::RoundTrips, 300),
    (Load::Datagrams, 600),
];

/// A way to serve the VRF.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The sysctls alone: every service is open.
    Open,
    Gate {
        others: u32,
    },
    /// nftables without connection tracking: what isn't the beginning of a connection passes.
    Stateless {
        others: u32,
    },
    /// nftables as most people write it.
    Tracked {
        others: u32,
    },
    /// haproxy, bound to the VRF, in front of a server that isn't. Bound so, it can take any address but not the
    /// server's own, which is none of the VRF's; and a port only that the server hasn't.
    Relay,
}

const WAYS: [Way; 8] = [
    Way::Open,
    Way::Gate { others: 0 },
    Way::Gate { others: 1000 },
    Way::Stateless { others: 0 },
    Way::Stateless { others: 1000 },
    Way::Tracked { others: 0 },
    Way::Tracked { others: 1000 },
    Way::Relay,
];

impl Way {
    fn name(self) -> String {
        let with = |what: &str, others: u32| format!("{what}, {} rules", others + 1);
        match self {
            Self::Open => "l3mdev_accept=1, no filter".into(),
            Self::Gate { others } => with("the gate", others),
            Self::Stateless { others } => with("nftables, SYN only", others),
            Self::Tracked { others } => with("nftables, conntrack", others),
            Self::Relay => "haproxy in the VRF".into(),
        }
    }

    /// Where clients find the service.
    fn entrance(self) -> SocketAddr {
        match self {
            Self::Relay => SocketAddr::new(service().ip(), RELAY),
            _ => service(),
        }
    }

    fn can(self, load: Load) -> bool {
        !matches!((self, load), (Self::Relay, Load::Datagrams))
    }

    fn set_up(self, net: &Net) -> SetUp {
        let server = &net.server;
        let accept = |yes| {
            server.set_sysctl("tcp", yes);
            server.set_sysctl("udp", yes);
        };
        accept(!matches!(self, Self::Gate { .. } | Self::Relay));
        match self {
            Self::Open => SetUp::Nothing,
            Self::Gate { others } => SetUp::Gate(Box::new(gate(net, others))),
            Self::Stateless { others } => {
                filter(net, "tcp flags & (syn | ack) != syn accept", others)
            }
            Self::Tracked { others } => filter(net, "ct state established,related accept", others),
            Self::Relay => relay(net),
        }
    }
}

/// What has to be taken down again.
enum SetUp {
    Nothing,
    Gate(Box<Gate>),
    Filter,
    Relay(Child),
}

impl SetUp {
    fn take_down(self, net: &Net) {
        match self {
            Self::Nothing => {}
            Self::Gate(gate) => gate.detach().unwrap(),
            Self::Filter => nft(net, "flush ruleset\n"),
            Self::Relay(mut relay) => {
                relay.kill().unwrap();
                relay.wait().unwrap();
            }
        }
    }
}

fn others(count: u32) -> impl Iterator<Item = (Ipv4Addr, u16)> {
    (0..count).map(|number| {
        let port = u16::try_from(10_000 + number % 400).unwrap();
        (Ipv4Addr::from(0xc000_0300 + number / 400), port)
    })
}

fn gate(net: &Net, count: u32) -> Gate {
    let others = others(count).map(|(address, port)| {
        let rule = rule(&format!("{address}:{port}"), Tcp, port..=port, &[]);
        on_addresses(rule, [IpAddr::V4(address)])
    });
    let own = [
        rule("tcp", Tcp, PORT..=PORT, &[SERVER]),
        rule("udp", Udp, PORT..=PORT, &[SERVER]),
    ];
    let rules = vrf(
        net.ifindex(VRF),
        Posture::Enforced,
        own.into_iter().chain(others).collect(),
    );
    let capacity = Capacity {
        counters: count + 4,
        ..Capacity::default()
    };
    Gate::attach(&net.server.store, net.server.netns(), &rules, &capacity).unwrap()
}

fn filter(net: &Net, established: &str, count: u32) -> SetUp {
    let own = ["tcp", "udp"].map(|protocol| format!("{SERVER} . {protocol} . {PORT}"));
    let others = others(count).map(|(address, port)| format!("{address} . tcp . {port}"));
    let open: Vec<String> = own.into_iter().chain(others).collect();
    let open = open.join(", ");
    nft(
        net,
        &format!(
            "table inet services {{
                set open {{
                    type ipv4_addr . inet_proto . inet_service
                    elements = {{ {open} }}
                }}
                chain input {{
                    type filter hook input priority filter
                    iifname != {VRF} accept
                    {established}
                    ip daddr . meta l4proto . th dport @open accept
                    drop
                }}
            }}\n"
        ),
    );
    SetUp::Filter
}

fn nft(net: &Net, commands: &str) {
    let netns = net.server.netns();
    net::feed(&netns, Command::new("nft").args(["-f", "-"]), commands);
}

fn relay(net: &Net) -> SetUp {
    let configuration = net.server.bpffs().with_file_name("haproxy.cfg");
    let text = format!(
        "global\n    nbthread 1\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
         listen services\n    bind 0.0.0.0:{RELAY} interface {VRF}\n    server main {SERVER}:{PORT}\n"
    );
    fs::write(&configuration, text).unwrap();
    let start = || {
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(&configuration);
        haproxy.stdout(Stdio::null()).spawn()
    };
    let relay = net.server.netns().run(start).unwrap();
    SetUp::Relay(relay.expect("haproxy(1) is needed: `make bench-traffic` installs it"))
}

pub fn measure(counting: bool) {
    let rounds = kit::setting("ROUNDS", 5).min(if counting { 5 } else { usize::MAX });
    let net = Net::new(Some(VRF));
    let netns = net.server.netns();
    let mut servers = Servers::start(&netns);
    let other = || TcpListener::bind((SERVER, UNLISTED));
    let _unlisted = netns.run(other).unwrap().unwrap();

    let mut times = WAYS.map(|_| LOADS.map(|_| Series::default()));
    for round in 0..rounds {
        for (way, times) in WAYS.into_iter().zip(&mut times) {
            let set_up = way.set_up(&net);
            servers.entrance = way.entrance();
            if !serves(&net, &servers, way, round) {
                println!("{} does not serve the VRF, and is not measured", way.name());
                set_up.take_down(&net);
                continue;
            }
            for ((load, count), times) in LOADS.into_iter().zip(times) {
                if way.can(load) {
                    load.seconds(Clock::Wall, &net, &servers, count / 10);
                    times.push(load.seconds(Clock::Wall, &net, &servers, count));
                }
            }
            set_up.take_down(&net);
        }
    }
    report(&times, counting, rounds);
}

/// Waits until the service is served, and looks that nothing else is: a filter that lets everything in is cheap.
fn serves(net: &Net, servers: &Servers, way: Way, round: usize) -> bool {
    let connect = |to: SocketAddr| {
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(500));
        net.client.netns().run(connect).unwrap()
    };
    // Without a pause: the clock of a VM that counts instructions jumps over pauses, and a relay that is read from a disk
    // would have no time to start.
    let deadline = Instant::now() + Duration::from_secs(4);
    while connect(servers.entrance).is_err() {
        if Instant::now() >= deadline {
            return false;
        }
    }
    servers.accept();
    if round == 0 {
        let unlisted = connect(SocketAddr::new(service().ip(), UNLISTED));
        assert_eq!(
            unlisted.is_ok(),
            matches!(way, Way::Open),
            "{way:?}, unlisted"
        );
    }
    true
}

fn report(times: &[[Series; 3]; 8], counting: bool, rounds: usize) {
    let machine = kit::machine();
    let unit = if counting { "instructions" } else { "ns" };
    println!(
        "Through a VRF, Linux {}, {}: {unit} an operation, and times those of the first; median of {rounds} rounds",
        machine["kernel"], machine["date"]
    );
    print!("{:28}", "");
    for (load, _) in LOADS {
        print!(" {:>34}", load.name());
    }
    println!();
    let mut rows: Vec<Value> = Vec::new();
    for (way, times_of) in WAYS.into_iter().zip(times) {
        print!("{:28}", way.name());
        let mut row = json!({"name": way.name()});
        for (((load, _), own), first) in LOADS.into_iter().zip(times_of).zip(&times[0]) {
            if own.is_empty() {
                print!(" {:>34}", "-");
                continue;
            }
            let own = own.median() * 1e9;
            let ratio = own / (first.median() * 1e9);
            print!(" {own:>26.0} {ratio:>7.3}");
            row[load.name()] = json!({"median": own.round(), "ratio": (ratio * 1e4).round() / 1e4});
        }
        println!();
        rows.push(row);
    }
    kit::save(
        "traffic-vrf",
        &json!({"machine": machine, "unit": unit, "rounds": rounds, "ways": rows}),
    );
}
