//! TCP ports that a socket of a VRF and one of none share, on kernels that may crash when the sysctl changes then.

mod first;
mod leaving;
mod waiting;

use std::{
    fs, io,
    net::SocketAddr,
    process::{Child, Command},
};

use libtest_mimic::Trial;
use nix::sys::utsname::uname;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use vrfgate_e2e::{Lab, Listener, ReallyClosed, Started, Vrfgate};

use crate::{net::Net, suite::soon};

/// All of them.
pub fn tests() -> Vec<Trial> {
    [first::tests(), leaving::tests(), waiting::tests()]
        .into_iter()
        .flatten()
        .collect()
}

const TCP: &str = "net.ipv4.tcp_l3mdev_accept";

/// Whether this kernel may crash: Linux 6.8 was the first.
pub fn is_concerned() -> bool {
    let release = uname().map(|names| names.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_else(|error| panic!("uname: {error}"));
    let mut numbers = release
        .split('.')
        .filter_map(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(8))
}

/// An unbound listener on a port of every address, and one that is bound to a device.
fn share(lab: &Lab, net: &Net, port: u16, device: &str) -> [Listener; 2] {
    [
        lab.listen("unbound").tcp(net.any(port)),
        lab.listen("bound").bound_to(device).tcp(net.any(port)),
    ]
}

/// The same where the sysctl is 1: both must allow it.
fn share_by_reuseport(lab: &Lab, net: &Net, port: u16) -> [Listener; 2] {
    [
        lab.listen("unbound").sharing_its_port().tcp(net.any(port)),
        lab.listen("bound")
            .bound_to("BLUE")
            .sharing_its_port()
            .tcp(net.any(port)),
    ]
}

/// A TCP socket that has a port and doesn't listen.
fn only_bound(lab: &Lab, device: Option<&str>, address: SocketAddr) -> (Socket, ReallyClosed) {
    let made = lab.netns().enter(|| -> io::Result<(Socket, ReallyClosed)> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&address.into())?;
        Ok((socket, ReallyClosed))
    });
    made.unwrap_or_else(|error| panic!("binding to {address}: {error}"))
}

/// A process of another program that listens. Dropping it ends the process.
struct Server(Child);

impl Server {
    /// `comm` is what the kernel calls the process.
    fn start(lab: &Lab, comm: &str, device: &str, port: u16) -> Self {
        let program = format!(
            "import socket, time\n\
             open('/proc/self/comm', 'w').write('{comm}')\n\
             s = socket.socket()\n\
             s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
             if '{device}': s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'{device}')\n\
             s.bind(('0.0.0.0', {port}))\n\
             s.listen(1)\n\
             time.sleep(3600)\n"
        );
        let server = Self(lab.spawn(Command::new("python3").arg("-c").arg(program)));
        soon("the server listens", || {
            let mut ss = Command::new("ss");
            ss.args(["-H", "-ltn", &format!("sport = :{port}")]);
            let wanted = if device.is_empty() {
                format!("0.0.0.0:{port}")
            } else {
                format!("%{device}:{port}")
            };
            lab.output(&mut ss).contains(&wanted)
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No leak is in force for shared ports, and nothing is open. Returns why.
#[track_caller]
fn should_wait(lab: &Lab, vrfgate: &Vrfgate) -> String {
    soon("a leak waits for ports", || {
        vrfgate.status()["leaks"][0]["reason"] == "PortShared"
    });
    let status = vrfgate.status();
    for leak in status["leaks"].as_array().into_iter().flatten() {
        assert_eq!(leak["state"], "Failed", "{status:#}");
        assert_eq!(leak["reason"], "PortShared", "{status:#}");
    }
    assert_eq!(lab.sysctl(TCP), "0");
    let why = status["waits"].as_str().unwrap_or_default().to_owned();
    let text = vrfgate.status_text();
    assert!(text.contains(&why), "{text}");
    assert!(vrfgate.said().contains(&why), "{}", vrfgate.said());
    why
}

#[track_caller]
fn should_soon_be_in_force(lab: &Lab, vrfgate: &Vrfgate) {
    soon("the leak is in force", || {
        let leaks = vrfgate.status()["leaks"].clone();
        let mut leaks = leaks.as_array().into_iter().flatten();
        leaks.all(|leak| leak["state"] == "InForce")
    });
    assert_eq!(lab.sysctl(TCP), "1");
    assert_eq!(vrfgate.status()["waits"], Value::Null);
}

/// What the kernel says when something of the kind has happened.
#[track_caller]
fn the_kernel_should_be_well() {
    let kernel = Command::new("dmesg").finished();
    let kernel = kernel.unwrap_or_else(|error| panic!("dmesg: {error}"));
    let said = String::from_utf8_lossy(&kernel.stdout).into_owned();
    let bad: Vec<&str> = said
        .lines()
        .filter(|line| {
            [
                "BUG:",
                "BUG ",
                "Oops",
                "general protection",
                "refcount_t",
                "Poison overwritten",
            ]
            .iter()
            .any(|word| line.contains(word))
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(fs::exists("/proc/version").unwrap_or_default());
}
