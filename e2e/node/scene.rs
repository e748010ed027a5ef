//! The VRF of a node: servers in the main domain, and a client behind the VRF that uses them and, all the while, tries ports
//! that no leak ever lists.

use vrfgate_e2e::{
    Conversation, Host, Lab, Listener, Load, Scanner,
    Transport::{Tcp, Udp},
    Vrfgate,
};

use crate::output;

/// In the other machine's gate; see [`Scene::new`].
const ELSEWHERE: &str = "\
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: elsewhere}
spec:
  vrf: BLUE
  services:
    - {name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]}
";

pub struct Scene {
    client: Host,
    session: Option<Conversation>,
    load: Option<Load>,
    /// Ports that have a server and that no leak lists.
    scanner: Scanner,
    _servers: Vec<Listener>,
    _elsewhere: (Vrfgate, Lab),
}

impl Scene {
    /// Makes VRF `vrf` on a machine, with the network `network`.0/24 behind it.
    pub fn new(machine: &Lab, vrf: &str, network: &str) -> Self {
        // The machine's first sk_lookup program and its last one to go have the kernel patch its own code, and
        // emulated processors that run it just then don't always survive that: one gate stays, somewhere else.
        let lab = Lab::new();
        let elsewhere = lab.vrfgate();
        elsewhere.apply(ELSEWHERE);

        // The kernel's limit on ICMP errors is for the whole machine, and refused datagrams are many here.
        for name in ["icmp_msgs_per_sec", "icmp_msgs_burst"] {
            machine.set_sysctl(&format!("net.ipv4.{name}"), "100000");
        }
        let own = format!("{network}.1");
        let client = machine
            .vrf(vrf)
            .slave(&format!("{}1", vrf.to_lowercase()), &format!("{own}/24"))
            .client(&format!("{network}.2/24"));
        let servers = vec![
            machine.listen("ssh").tcp("0.0.0.0:22"),
            machine.listen("web").tcp("0.0.0.0:80"),
            machine.listen("dns").udp("0.0.0.0:53"),
            machine.listen("mdns").udp("0.0.0.0:5353"),
        ];
        let addresses = ["192.0.2.1", &own];
        let unlisted = addresses.into_iter().flat_map(|address| {
            [(Tcp, 80), (Udp, 5353)].map(|(transport, port)| {
                let to = format!("{address}:{port}").parse();
                (transport, to.unwrap_or_else(|error| panic!("{error}")))
            })
        });
        let scanner = client.keep_scanning(&unlisted.collect::<Vec<_>>());
        Self {
            client,
            session: None,
            load: None,
            scanner,
            _servers: servers,
            _elsewhere: (elsewhere, lab),
        }
    }

    /// Runs a command, and returns its result; `None` if it is none of this part's commands.
    pub fn obey(&mut self, words: &[&str]) -> Option<String> {
        match words {
            ["connect", "to", to] => return Some(self.client.connect(*to).outcome().to_string()),
            ["ask", to] => return Some(self.client.ask(*to).outcome().to_string()),
            ["talk", "to", to] => self.session = Some(self.client.talk_to(*to)),
            ["still", "talk"] => match &mut self.session {
                Some(session) => session.should_be_alive(),
                None => panic!("there is no open connection"),
            },
            ["keep", "connecting", "to", to] => {
                let to = to.parse().unwrap_or_else(|error| panic!("{to}: {error}"));
                self.load = Some(self.client.keep_connecting(&[to], &[]));
            }
            ["stop", "connecting"] => match self.load.take() {
                Some(load) => {
                    load.should_have_met_no_surprise();
                    return Some(load.attempts().to_string());
                }
                None => panic!("nobody keeps connecting"),
            },
            ["what", "was", "open?"] => return Some(self.what_was_open()),
            _ => return None,
        }
        Some(String::new())
    }

    /// How often ports were tried that are never listed; panics when one was open.
    fn what_was_open(&self) -> String {
        let open = self.scanner.open();
        assert!(open.is_empty(), "{open:?}");
        self.scanner.attempts().to_string()
    }
}

/// Everything on a machine that vrfgate touches.
pub fn state(machine: &Lab) -> String {
    let mut state = vec![machine.routing()];
    for name in ["tcp", "udp"] {
        let name = format!("net.ipv4.{name}_l3mdev_accept");
        state.push(format!("{name} = {}", machine.sysctl(&name)));
    }
    // Neither directory need be there.
    for command in [
        "find /sys/fs/bpf/vrfgate -mindepth 1",
        "find /run/vrfgate -mindepth 1 -not -name agent.sock",
        "nft list ruleset",
    ] {
        state.push(format!("{command}:"));
        state.push(output(command));
    }
    state.join("\n")
}
