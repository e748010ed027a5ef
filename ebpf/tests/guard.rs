//! The gate is two programs by two links, and one of them is enough. `lo` stands in for a VRF, as in traffic.rs.

mod common;

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use common::{Sandbox, rule, vrf};
use vrfgate_core::{Posture, Protocol::Tcp, RuleSet};
use vrfgate_ebpf::{Gate, Hits, Repaired, sk_lookup_programs};
use vrfgate_sandbox::detach_link;

const LO: u32 = 1;
const LINKS: [&str; 2] = ["link", "guard-link"];

fn ssh() -> RuleSet {
    vrf(
        LO,
        Posture::Enforced,
        vec![rule("ssh", Tcp, 7022..=7022, &["127.0.0.1"])],
    )
}

/// A namespace with a listed and an unlisted listener.
struct Scene {
    sandbox: Sandbox,
    _listeners: [TcpListener; 2],
}

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let listen = |on: &'static str| {
            let netns = sandbox.netns();
            netns.run(|| TcpListener::bind(on).unwrap()).unwrap()
        };
        Self {
            _listeners: [listen("0.0.0.0:7022"), listen("0.0.0.0:7080")],
            sandbox,
        }
    }

    fn detach(&self, link: &str) {
        detach_link(&self.sandbox.pins().join(link)).unwrap();
    }

    fn connect(&self, port: u16) -> Result<(), ErrorKind> {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let connected = self
            .sandbox
            .netns()
            .run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))
            .unwrap();
        connected.map(drop).map_err(|error| error.kind())
    }

    #[track_caller]
    fn should_be_guarded(&self, when: &str) {
        assert_eq!(self.connect(7022), Ok(()), "{when}");
        assert_eq!(
            self.connect(7080),
            Err(ErrorKind::ConnectionRefused),
            "{when}"
        );
    }

    fn programs(&self) -> usize {
        sk_lookup_programs(&self.sandbox.netns()).unwrap().len()
    }
}

/// What passed by the rule, and what the VRF was refused.
fn counted(gate: &Gate) -> (u64, u64) {
    let vrf = &gate.status().unwrap().vrfs[0];
    let Hits { passed, .. } = vrf.rules[0].hits;
    (passed, vrf.hits.refused)
}

#[test]
fn either_link_may_be_detached_and_the_other_decides_and_counts() {
    for link in LINKS {
        let scene = Scene::new();
        let mut gate = scene.sandbox.attach(&ssh());
        scene.should_be_guarded("with both links");
        assert_eq!(counted(&gate), (1, 1), "each packet counts once");

        scene.detach(link);
        scene.should_be_guarded(link);
        scene.should_be_guarded(link);
        assert_eq!(counted(&gate), (3, 3), "without {link}");
        gate.verify().unwrap();
        assert!(scene.sandbox.sysctl("tcp"));

        assert_eq!(gate.keep().unwrap(), [Repaired::Link], "{link}");
        assert_eq!(gate.keep().unwrap(), [], "{link}");
        scene.should_be_guarded("mended");
        assert_eq!(counted(&gate), (4, 4), "mended after {link}");
        assert_eq!(scene.programs(), 2);
    }
}

#[test]
fn a_gate_that_was_mended_can_lose_the_other_link_too() {
    let scene = Scene::new();
    let mut gate = scene.sandbox.attach(&ssh());
    for link in LINKS.into_iter().chain(LINKS) {
        scene.detach(link);
        scene.should_be_guarded(link);
        assert_eq!(gate.keep().unwrap(), [Repaired::Link], "{link}");
    }
    scene.should_be_guarded("at the end");
}

#[test]
fn a_gate_with_one_link_is_taken_over_and_renewed_with_its_counters() {
    for link in LINKS {
        let scene = Scene::new();
        drop(scene.sandbox.attach(&ssh()));
        scene.should_be_guarded("with both links");
        scene.detach(link);

        let mut gate = scene.sandbox.open().unwrap().unwrap();
        assert!(!gate.is_current().unwrap(), "{link}");
        gate.renew().unwrap();

        assert!(gate.is_current().unwrap(), "{link}");
        scene.should_be_guarded(link);
        assert_eq!(counted(&gate), (2, 2), "{link}");
        assert_eq!(scene.programs(), 2, "{link}");
    }
}

#[test]
fn the_guard_is_no_program_of_somebody_else() {
    let scene = Scene::new();
    let gate = scene.sandbox.attach(&ssh());
    assert_eq!(scene.programs(), 2);
    assert_eq!(gate.other_programs().unwrap(), []);
}
