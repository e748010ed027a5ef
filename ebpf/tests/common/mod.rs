//! A network namespace of the test's own, with a store of its own. Everything goes away with the value.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    ffi::CString,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
};

use ipnet::IpNet;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;
use vrfgate_ebpf::{
    Capacity, Error, Gate, Mode, Netns, Opening, Protocol, Rule, RuleSet, Store, TestPacket, Vrf,
};

pub struct Sandbox {
    pub store: Store,
    netns: PathBuf,
    directory: TempDir,
    keeper: mpsc::Sender<()>,
}

impl Sandbox {
    pub fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test attaches BPF programs to network namespaces: run it as root (`make test` does)"
        );
        let directory = TempDir::new().unwrap();
        let bpffs = directory.path().join("bpf");
        std::fs::create_dir(&bpffs).unwrap();
        mount(
            Some("bpf"),
            &bpffs,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        let (keeper, netns) = new_namespace();
        Self {
            store: Store::new(&bpffs, directory.path().join("run")),
            netns,
            directory,
            keeper,
        }
    }

    pub fn netns(&self) -> Netns {
        Netns::open(self.netns.to_str().unwrap()).unwrap()
    }

    pub fn attach(&self, rules: &RuleSet) -> Gate {
        self.try_attach(rules).unwrap()
    }

    pub fn try_attach(&self, rules: &RuleSet) -> Result<Gate, Error> {
        Gate::attach(&self.store, self.netns(), rules, &Capacity::default())
    }

    pub fn open(&self) -> Result<Option<Gate>, Error> {
        Gate::open(&self.store, self.netns())
    }

    /// Goes on in a namespace that is new; the one before ends. Pins and files stay where they are.
    pub fn move_to_new_namespace(&mut self) {
        (self.keeper, self.netns) = new_namespace();
    }

    pub fn pins(&self) -> PathBuf {
        self.directory
            .path()
            .join("bpf/vrfgate")
            .join(self.netns().id().to_string())
    }

    pub fn bpffs(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    pub fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn sysctl(&self, name: &'static str) -> bool {
        let path = format!("/proc/sys/net/ipv4/{name}_l3mdev_accept");
        self.netns()
            .run(|| std::fs::read_to_string(path).unwrap().trim() == "1")
            .unwrap()
    }

    pub fn set_sysctl(&self, name: &'static str, value: bool) {
        let path = format!("/proc/sys/net/ipv4/{name}_l3mdev_accept");
        self.netns()
            .run(|| std::fs::write(path, if value { "1" } else { "0" }).unwrap())
            .unwrap();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = umount2(&self.directory.path().join("bpf"), MntFlags::MNT_DETACH);
    }
}

/// A namespace with `lo` up, kept by a thread that waits for the sender to go.
fn new_namespace() -> (mpsc::Sender<()>, PathBuf) {
    let (keeper, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(
            up.expect("ip(8) is needed: apt-get install iproute2")
                .success()
        );
        let thread = nix::unistd::gettid();
        tell.send(format!("/proc/self/task/{thread}/ns/net").into())
            .unwrap();
        let _ = wait.recv();
    });
    (keeper, told.recv().unwrap())
}

/// Detaches both links of a gate by force.
pub fn detach_gate(sandbox: &Sandbox) {
    for link in ["link", "guard-link"] {
        detach_link(&sandbox.pins().join(link));
    }
}

/// Detaches a pinned link by force, as `bpftool link detach` does: the pin stays and the gate is out.
pub fn detach_link(pin: &Path) {
    /// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of `enum bpf_cmd`.
    const OBJ_GET: libc::c_long = 7;
    const LINK_DETACH: libc::c_long = 34;
    let bpf = |command: libc::c_long, attr: &[u64; 8]| {
        // SAFETY: `attr` is valid for its size, and the path that it may point to outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), 64) };
        assert!(result >= 0, "{}", std::io::Error::last_os_error());
        u64::try_from(result).unwrap()
    };
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let mut attr = [0; 8];
    attr[0] = path.as_ptr() as u64;
    let link = bpf(OBJ_GET, &attr);
    attr[0] = u64::from(u32::try_from(link).unwrap().to_le());
    bpf(LINK_DETACH, &attr);
    // SAFETY: a descriptor that nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(link).unwrap()) });
}

/// A rule with the least that a rule needs; the rest by struct update.
pub fn rule(
    name: &str,
    protocol: Protocol,
    ports: RangeInclusive<u16>,
    addresses: &[&str],
) -> Rule {
    Rule::new(name, opening(protocol, ports, addresses))
}

/// Ports of addresses.
pub fn opening(protocol: Protocol, ports: RangeInclusive<u16>, addresses: &[&str]) -> Opening {
    Opening {
        protocol,
        ports,
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        prefixes: Vec::new(),
    }
}

/// The rule, on these addresses instead.
pub fn on_addresses(mut rule: Rule, addresses: impl IntoIterator<Item = IpAddr>) -> Rule {
    rule.opens[0].addresses = addresses.into_iter().collect();
    rule
}

/// The rule, on these prefixes as well.
pub fn on_prefixes(mut rule: Rule, prefixes: &[&str]) -> Rule {
    rule.opens[0].prefixes = prefixes.iter().map(|net| net.parse().unwrap()).collect();
    rule
}

pub fn from_sources(rule: Rule, sources: &[&str]) -> Rule {
    Rule {
        sources: sources
            .iter()
            .map(|net| net.parse::<IpNet>().unwrap())
            .collect(),
        ..rule
    }
}

/// VRF device number `ifindex` with these rules.
pub fn vrf(ifindex: u32, mode: Mode, rules: Vec<Rule>) -> RuleSet {
    let vrf = Vrf {
        name: "BLUE".into(),
        mode,
        rules,
    };
    RuleSet {
        slaves: [].into(),
        vrfs: [(ifindex, vrf)].into(),
    }
}

/// A packet as the kernel would show it to the program.
pub fn packet(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> TestPacket {
    let mut packet = TestPacket {
        family: 10,
        protocol: protocol.number().into(),
        remote_port: remote.port().to_be(),
        local_port: local.port().into(),
        ..TestPacket::default()
    };
    match (local.ip(), remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            packet.family = 2;
            packet.local_ip4 = u32::from_ne_bytes(local.octets());
            packet.remote_ip4 = u32::from_ne_bytes(remote.octets());
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            packet.local_ip6 = words(local.octets());
            packet.remote_ip6 = words(remote.octets());
        }
        _ => panic!("a packet has one family"),
    }
    packet
}

fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().unwrap());
    }
    words
}
