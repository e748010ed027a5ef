//! `vrfgate explain` predicts what a client sees, and why.
//!
//! Every verdict here is checked twice: against what the test has set up, and against a real client.

mod gate;
mod listeners;
mod replies;
mod routing;

use std::net::{IpAddr, SocketAddr};

use libtest_mimic::Trial;
use serde_json::Value;
use vrfgate_e2e::{Attempt, Host, Transport, Vrfgate};

use crate::net::Net;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [
        gate::tests(),
        listeners::tests(),
        replies::tests(),
        routing::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A packet that is explained, and sent.
struct Packet<'a> {
    vrfgate: &'a Vrfgate,
    client: &'a Host,
    vrf: &'static str,
    transport: Transport,
    from: IpAddr,
    to: SocketAddr,
    /// The client is a process of the router, bound to the VRF.
    local: bool,
}

/// A TCP packet of BLUE's client for a port of the main address.
fn tcp<'a>(net: &Net, vrfgate: &'a Vrfgate, client: &'a Host, port: u16) -> Packet<'a> {
    Packet {
        vrfgate,
        client,
        vrf: "BLUE",
        transport: Transport::Tcp,
        from: net.client,
        to: net.main(port),
        local: false,
    }
}

/// A TCP packet that a process of the router, bound to BLUE, sends to an address of the router.
fn local<'a>(vrfgate: &'a Vrfgate, router: &'a Host, to: SocketAddr) -> Packet<'a> {
    Packet {
        vrfgate,
        client: router,
        vrf: "BLUE",
        transport: Transport::Tcp,
        from: to.ip(),
        to,
        local: true,
    }
}

/// As [`tcp`], a datagram.
fn udp<'a>(net: &Net, vrfgate: &'a Vrfgate, client: &'a Host, port: u16) -> Packet<'a> {
    Packet {
        transport: Transport::Udp,
        ..tcp(net, vrfgate, client, port)
    }
}

impl Packet<'_> {
    fn through(self, vrf: &'static str) -> Self {
        Self { vrf, ..self }
    }

    fn from(self, from: IpAddr) -> Self {
        Self { from, ..self }
    }

    fn to(self, to: SocketAddr) -> Self {
        Self { to, ..self }
    }

    /// It reaches the server named `identity`, as predicted.
    #[track_caller]
    fn is_served_by(&self, identity: &str, words: &str) {
        let explanation = self.explained("Served", words);
        assert_eq!(explanation["clientSees"], "Answer", "{explanation:#}");
        self.attempt().should_reach(identity);
    }

    /// It fails in this way, for this reason, and the client sees what was predicted.
    #[track_caller]
    fn fails(&self, verdict: &str, words: &str) {
        let explanation = self.explained(verdict, words);
        let attempt = self.attempt();
        match explanation["clientSees"].as_str() {
            Some("Refused") => attempt.should_be_refused(),
            Some("Silence") => attempt.should_time_out(),
            Some("Unreachable") => attempt.should_be_unreachable(),
            Some("Unknown") => {}
            other => panic!("the client is said to see {other:?}: {explanation:#}"),
        }
    }

    /// The explanation, which must contain the verdict and the words.
    #[track_caller]
    fn explained(&self, verdict: &str, words: &str) -> Value {
        let protocol = format!("{:?}", self.transport).to_lowercase();
        let output = self.vrfgate.call(&[
            "explain".to_owned(),
            format!("--vrf={}", self.vrf),
            format!("--from={}", self.from),
            format!("--to={}/{protocol}", self.to),
            "-o=json".to_owned(),
        ]);
        let explanation: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {} {}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        });
        let picture = || format!("{explanation:#}\n{}", self.client.picture());
        assert_eq!(explanation["verdict"], verdict, "{}", picture());
        let said = explanation.to_string();
        assert!(said.contains(words), "should say {words:?}: {}", picture());
        let served = verdict == "Served";
        assert_eq!(explanation["served"], served, "{explanation:#}");
        assert_eq!(
            output.status.code(),
            Some(i32::from(!served)),
            "exit code: {explanation:#}"
        );
        explanation
    }

    fn attempt(&self) -> Attempt<'_> {
        let attempt = match self.transport {
            Transport::Tcp | Transport::Http => self.client.connect(self.to),
            Transport::Udp | Transport::Dns => self.client.ask(self.to),
        };
        if self.local {
            attempt.bound_to(self.vrf)
        } else {
            attempt.from(self.from)
        }
    }
}
