//! `net.ipv4.{tcp,udp}_l3mdev_accept` of one network namespace: the switch that lets unbound sockets match
//! packets from VRFs (Documentation/networking/vrf.rst). IPv6 obeys the same two.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};
use vrfgate_core::Protocol;

use crate::Netns;

/// Of the whole process, because so is what it can't write: containers that aren't privileged have their
/// `/proc/sys` read-only.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Has sysctls read and written below `root`, which must show what `/proc/sys` shows. The first call counts.
pub fn sysctls_at(root: PathBuf) {
    let _ = ROOT.set(root);
}

/// One value for each of the two switches. `None` where the kernel has no such switch, and so no VRFs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct L3mdevAccept {
    /// `net.ipv4.tcp_l3mdev_accept`
    pub tcp: Option<bool>,
    /// `net.ipv4.udp_l3mdev_accept`
    pub udp: Option<bool>,
}

impl L3mdevAccept {
    /// No unbound socket is open to a VRF.
    pub(crate) const CLOSED: Self = Self {
        tcp: Some(false),
        udp: Some(false),
    };

    /// What the namespace has now.
    pub fn read(netns: &Netns) -> io::Result<Self> {
        netns.run(|| {
            Ok(Self {
                tcp: read(Protocol::Tcp)?,
                udp: read(Protocol::Udp)?,
            })
        })?
    }

    /// Makes the namespace have these values; touches only a switch that differs, and reads it back. When
    /// one of the two can't be set, the other still is.
    pub fn write(self, netns: &Netns) -> io::Result<()> {
        netns.run(|| {
            let Self { tcp, udp } = self;
            let results = [write(Protocol::Tcp, tcp), write(Protocol::Udp, udp)];
            results.into_iter().collect()
        })?
    }
}

/// The two switches of a namespace, held open: reading them takes no thread that enters the namespace.
pub(crate) struct Switches {
    tcp: Option<File>,
    udp: Option<File>,
}

impl Switches {
    pub(crate) fn open(netns: &Netns) -> io::Result<Self> {
        netns.run(|| {
            Ok(Self {
                tcp: open(Protocol::Tcp)?,
                udp: open(Protocol::Udp)?,
            })
        })?
    }

    /// What the namespace has now.
    pub(crate) fn read(&self) -> io::Result<L3mdevAccept> {
        let value = |switch: &Option<File>| -> io::Result<Option<bool>> {
            let Some(file) = switch else { return Ok(None) };
            let mut text = [0; 8];
            let length = file.read_at(&mut text, 0)?;
            Ok(Some(text[..length].trim_ascii() != b"0"))
        };
        Ok(L3mdevAccept {
            tcp: value(&self.tcp)?,
            udp: value(&self.udp)?,
        })
    }
}

fn open(protocol: Protocol) -> io::Result<Option<File>> {
    match File::open(path(protocol)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Name as sysctl(8) takes it.
pub(crate) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "net.ipv4.tcp_l3mdev_accept",
        Protocol::Udp => "net.ipv4.udp_l3mdev_accept",
    }
}

/// `/proc/sys/net`, wherever it is mounted, shows the namespace of the thread that opens the file.
fn path(protocol: Protocol) -> PathBuf {
    let root = ROOT.get_or_init(|| PathBuf::from("/proc/sys"));
    root.join(name(protocol).replace('.', "/"))
}

fn read(protocol: Protocol) -> io::Result<Option<bool>> {
    match fs::read_to_string(path(protocol)) {
        Ok(value) => Ok(Some(value.trim() != "0")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(protocol: Protocol, value: Option<bool>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    match read(protocol)? {
        Some(now) if now != value => {}
        // Right already, or a kernel without VRFs.
        _ => return Ok(()),
    }
    fs::write(path(protocol), if value { "1" } else { "0" })?;
    if read(protocol)? == Some(value) {
        Ok(())
    } else {
        Err(io::Error::other(
            "the kernel took the new value and kept the old one",
        ))
    }
}
