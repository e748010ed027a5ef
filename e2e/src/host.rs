//! A machine of the lab: a namespace, and what one does there.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::{Attempt, Conversation, Load, Netns, Plan, Scanner, Started, Transport};

/// A machine of a topology. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Host {
    label: String,
    netns: Arc<Netns>,
    topology: Arc<Topology>,
}

/// All machines of a lab, for whoever has to explain a failure.
#[derive(Debug, Default)]
struct Topology {
    machines: Mutex<Vec<(String, Weak<Netns>)>>,
}

impl Topology {
    fn add(&self, label: &str, netns: &Arc<Netns>) {
        self.machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((label.to_owned(), Arc::downgrade(netns)));
    }
}

impl Host {
    /// The first machine of a new topology.
    pub(crate) fn new(name: String) -> Self {
        Self::of(Arc::default(), "router", Netns::create(name))
    }

    /// The machine that this program runs on, as the first of a topology.
    pub(crate) fn this(name: String) -> Self {
        Self::of(Arc::default(), "router", Netns::attach(name))
    }

    /// Another machine of the same topology, not connected to anything.
    pub(crate) fn neighbour(&self, label: &str) -> Self {
        let name = format!("{}-{label}", self.netns.name());
        Self::of(
            self.topology.clone(),
            &format!("client behind {label}"),
            Netns::create(name),
        )
    }

    fn of(topology: Arc<Topology>, label: &str, netns: io::Result<Netns>) -> Self {
        let netns = netns.unwrap_or_else(|error| panic!("making a namespace: {error}"));
        let netns = Arc::new(netns);
        topology.add(label, &netns);
        Self {
            label: label.to_owned(),
            netns,
            topology,
        }
    }

    /// The namespace the machine is.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs commands of ip(8), one a line and without the word `ip`.
    #[track_caller]
    pub fn ip(&self, commands: &str) {
        self.netns.ip(commands);
    }

    /// As [`Host::ip`], where the kernel may say no.
    pub fn try_ip(&self, commands: &str) -> io::Result<()> {
        self.netns.try_ip(commands)
    }

    /// What a command of ip(8) prints.
    #[must_use]
    #[track_caller]
    pub fn ip_shows(&self, command: &str) -> String {
        let shown = self.netns.ip_shows(command);
        shown.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Everything about routing that a careless tool could change. Without link-local addresses and their
    /// routes, which come whenever duplicate address detection is done with them.
    #[must_use]
    #[track_caller]
    pub fn routing(&self) -> String {
        let shown = [
            "-4 rule",
            "-6 rule",
            "-4 route show table all",
            "-6 route show table all",
            "-brief address",
        ]
        .map(|command| self.ip_shows(command))
        .join("\n");
        shown
            .lines()
            .filter(|line| !line.starts_with("multicast"))
            .map(|line| line.split(" fe80::").next().unwrap_or(line))
            .filter(|line| !matches!(*line, "local" | "anycast") && !line.starts_with("fe80::"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Value of a sysctl, such as `net.ipv4.tcp_l3mdev_accept`.
    #[must_use]
    #[track_caller]
    pub fn sysctl(&self, name: &str) -> String {
        let value = self.netns.sysctl(name);
        value.unwrap_or_else(|error| panic!("reading {name}: {error}"))
    }

    /// Sets a sysctl.
    #[track_caller]
    pub fn set_sysctl(&self, name: &str, value: &str) {
        self.netns.set_sysctl(name, value);
    }

    /// A server on this machine, which answers everybody with `identity`.
    pub fn listen(&self, identity: &str) -> Plan {
        Plan::new(self.netns.clone(), identity)
    }

    /// Opens a TCP connection, and reads who is there.
    pub fn connect(&self, to: impl ToSocketAddrs + fmt::Debug) -> Attempt<'_> {
        Attempt::new(self, Transport::Tcp, to)
    }

    /// Sends a datagram that asks who is there.
    pub fn ask(&self, to: impl ToSocketAddrs + fmt::Debug) -> Attempt<'_> {
        Attempt::new(self, Transport::Udp, to)
    }

    /// Asks a DNS server which text [`dns::NAME`](crate::dns::NAME) has.
    pub fn resolve(&self, at: impl ToSocketAddrs + fmt::Debug) -> Attempt<'_> {
        Attempt::new(self, Transport::Dns, at)
    }

    /// Asks a web server for its first page.
    pub fn browse(&self, at: impl ToSocketAddrs + fmt::Debug) -> Attempt<'_> {
        Attempt::new(self, Transport::Http, at)
    }

    /// Opens a TCP connection to a [`Listener`](crate::Listener) and keeps it.
    #[must_use]
    #[track_caller]
    pub fn talk_to(&self, to: impl ToSocketAddrs + fmt::Debug) -> Conversation {
        Conversation::open(self, to)
    }

    /// Keeps connecting to ports that must answer and to ports that must be closed.
    #[must_use]
    pub fn keep_connecting(&self, open: &[SocketAddr], closed: &[SocketAddr]) -> Load {
        Load::start(self, open.to_vec(), closed.to_vec())
    }

    /// Keeps trying ports that must be closed.
    #[must_use]
    pub fn keep_scanning(&self, ports: &[(Transport, SocketAddr)]) -> Scanner {
        Scanner::start(self, None, ports.to_vec())
    }

    /// As [`Host::keep_scanning`], by sockets that are bound to a device or VRF.
    #[must_use]
    pub fn keep_scanning_bound_to(
        &self,
        device: &str,
        ports: &[(Transport, SocketAddr)],
    ) -> Scanner {
        Scanner::start(self, Some(device.to_owned()), ports.to_vec())
    }

    /// Sends a datagram to everybody: a broadcast or multicast address.
    #[track_caller]
    pub fn announce(&self, to: SocketAddr) {
        let sent = self.netns.enter(|| {
            let any: IpAddr = match to {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_broadcast(true)?;
            socket.send_to(b"hello, everybody", to)
        });
        if let Err(error) = sent {
            panic!("{self} to {to}: {error}\n{}", self.picture());
        }
    }

    /// Index of an interface.
    #[must_use]
    #[track_caller]
    pub fn ifindex(&self, device: &str) -> u32 {
        let shown = self.ip_shows(&format!("-json link show dev {device}"));
        serde_json::from_str::<serde_json::Value>(&shown)
            .ok()
            .and_then(|links| u32::try_from(links[0]["ifindex"].as_u64()?).ok())
            .unwrap_or_else(|| panic!("ip says of {device}: {shown}"))
    }

    /// What a command prints on this machine. It must succeed.
    #[must_use]
    #[track_caller]
    pub fn output(&self, command: &mut Command) -> String {
        let output = self.netns.enter(|| command.finished());
        let output = output.unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Puts a file of nft's language into force.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        let _ = self.output(Command::new("nft").arg(rules));
    }

    /// Starts a process on this machine.
    #[track_caller]
    pub fn spawn(&self, command: &mut Command) -> std::process::Child {
        let child = self.netns.enter(|| command.started());
        child.unwrap_or_else(|error| panic!("starting {command:?}: {error}"))
    }

    /// Everything about the topology that decides where packets go, for a person to read.
    #[must_use]
    pub fn picture(&self) -> String {
        let machines = self
            .topology
            .machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        machines
            .iter()
            .filter_map(|(label, netns)| Some(picture_of(label, &*netns.upgrade()?)))
            .collect()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

fn picture_of(label: &str, netns: &Netns) -> String {
    let mut picture = format!("== {label} ({})\n", netns.name());
    for command in [
        "-brief link",
        "-brief address",
        "rule",
        "route show table all",
        "-6 route show table all",
    ] {
        let shown = netns.ip_shows(command);
        let shown = shown.unwrap_or_else(|error| error.to_string());
        picture.push_str(&section(&format!("ip {command}"), &shown));
    }
    let sockets = netns.enter(|| Command::new("ss").args(["-Hlntu"]).finished());
    if let Ok(sockets) = sockets {
        let shown = String::from_utf8_lossy(&sockets.stdout).into_owned();
        picture.push_str(&section("ss -lntu", &shown));
    }
    for name in ["tcp", "udp"] {
        let name = format!("net.ipv4.{name}_l3mdev_accept");
        if let Ok(value) = netns.sysctl(&name) {
            picture.push_str(&section(&name, &format!("{value}\n")));
        }
    }
    picture
}

fn section(title: &str, content: &str) -> String {
    format!("-- {title}\n{content}")
}
