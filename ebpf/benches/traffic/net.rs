//! Two namespaces with a cable between them.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

use vrfgate_ebpf::Netns;

use crate::common::Sandbox;

/// What is served, and to whom.
pub const SERVER: &str = "192.0.2.1";
pub const PORT: u16 = 7022;

pub fn service() -> SocketAddr {
    SocketAddr::new(SERVER.parse().unwrap(), PORT)
}

/// A server and a client that has it as its way to everywhere.
pub struct Net {
    pub server: Sandbox,
    pub client: Sandbox,
}

impl Net {
    /// With `vrf`, the server's end of the cable is in a VRF of this name.
    pub fn new(vrf: Option<&str>) -> Self {
        let net = Self {
            server: Sandbox::new(),
            client: Sandbox::new(),
        };
        let cable = format!(
            "link add cable type veth peer name eth0 netns {}\n",
            net.client.name()
        );
        let vrf = vrf.map_or_else(String::new, |vrf| {
            format!(
                "link add {vrf} type vrf table 10\nlink set {vrf} up\nlink set cable master {vrf}\n"
            )
        });
        let addresses = format!(
            "link set cable up\naddress add 10.0.0.1/24 dev cable\naddress add {SERVER}/32 dev lo\n"
        );
        let commands = [cable, vrf, addresses].concat();
        net.server.ip(&commands);
        net.client.ip(
            "link set eth0 up\naddress add 10.0.0.2/24 dev eth0\nroute add default via 10.0.0.1\n",
        );
        net
    }

    /// Number of a device of the server.
    pub fn ifindex(&self, device: &str) -> u32 {
        let index = self
            .server
            .netns()
            .run(|| nix::net::if_::if_nametoindex(device));
        index.unwrap().unwrap()
    }
}

/// Runs a program in a namespace, and hands it `input`.
pub fn feed(netns: &Netns, command: &mut Command, input: &str) {
    let run = || {
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        child.stdin.take().unwrap().write_all(input.as_bytes())?;
        child.wait()
    };
    let status = netns
        .run(run)
        .unwrap()
        .unwrap_or_else(|error| panic!("running {command:?}: {error}"));
    assert!(status.success(), "{command:?} refused: {input}");
}

pub fn has_vrfs() -> bool {
    let netns = Sandbox::new().netns();
    let add = || {
        Command::new("ip")
            .args("link add probe type vrf table 4242".split(' '))
            .stderr(Stdio::null())
            .status()
    };
    netns.run(add).unwrap().unwrap().success()
}
