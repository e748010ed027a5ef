//! What a machine must have before a gate is attached. Looks, changes nothing.

use std::{fmt, path::Path};

use caps::{CapSet, Capability};

use crate::{Store, is_shortage};

/// `bpf_sk_lookup.ingress_ifindex` came with 5.17: without it the gate can't tell a VRF's packets.
const OLDEST_KERNEL: (u32, u32) = (5, 17);
/// The kernel's type information.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Something the gate can't do without and the machine doesn't have. Reads as one clear line, with the way
/// to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The kernel is older than 5.17.
    Kernel {
        /// Its release, as `uname -r` says.
        release: String,
    },
    /// The kernel carries no type information.
    Btf,
    /// No BPF file system is mounted.
    Bpffs {
        /// Where it was looked for.
        mount_point: String,
    },
    /// The process lacks a capability.
    Capability {
        /// Its name.
        name: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { release } => write!(
                f,
                "the kernel is {release} and 5.17 is the first that tells a BPF program which VRF a packet \
                 came through (boot a newer kernel)"
            ),
            Self::Btf => write!(
                f,
                "the kernel has no BTF at {KERNEL_BTF} (boot a kernel with CONFIG_DEBUG_INFO_BTF=y)"
            ),
            Self::Bpffs { mount_point } => write!(
                f,
                "no BPF file system at {mount_point} (mount -t bpf bpf {mount_point})"
            ),
            Self::Capability { name, why } => {
                write!(
                    f,
                    "{name} is missing, which it takes to {why} (run as root, or grant it)"
                )
            }
        }
    }
}

/// Everything the machine lacks; empty when a gate can be attached.
#[must_use]
pub fn preflight(store: &Store) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let release = kernel_release();
    if version_of(&release).is_some_and(|version| version < OLDEST_KERNEL) {
        lacks.push(Lack::Kernel { release });
    }
    // What can't be told while the machine is short of something is found out by whoever needs it.
    if !Path::new(KERNEL_BTF)
        .try_exists()
        .unwrap_or_else(|error| is_shortage(&error))
    {
        lacks.push(Lack::Btf);
    }
    if !store.is_bpffs().unwrap_or_else(|error| is_shortage(&error)) {
        lacks.push(Lack::Bpffs {
            mount_point: store.bpffs().display().to_string(),
        });
    }
    for (capability, name, why) in [
        (
            Capability::CAP_BPF,
            "CAP_BPF (or CAP_SYS_ADMIN)",
            "load the gate's BPF programs and maps",
        ),
        (
            Capability::CAP_PERFMON,
            "CAP_PERFMON (or CAP_SYS_ADMIN)",
            "have the kernel accept the gate's arithmetic, and trace sockets",
        ),
        (
            Capability::CAP_NET_ADMIN,
            "CAP_NET_ADMIN",
            "attach the gate to a network namespace, and to change sysctls, routes and rules there",
        ),
    ] {
        // CAP_SYS_ADMIN stands in for both of BPF's (bpf_capable() and perfmon_capable() in
        // include/linux/capability.h).
        let stand_in = capability != Capability::CAP_NET_ADMIN && has(Capability::CAP_SYS_ADMIN);
        if !has(capability) && !stand_in {
            lacks.push(Lack::Capability { name, why });
        }
    }
    lacks
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// The running kernel's release, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// Whether the running kernel's release is this one or a later one. One that can't be read counts as later.
pub(crate) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    version_of(&kernel_release()).is_none_or(|version| version >= (major, minor))
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_of_any_distribution_has_a_version() {
        for (release, version) in [
            ("5.17.0", (5, 17)),
            ("6.1.0-49-cloud-amd64", (6, 1)),
            ("5.14.0-611.el9.x86_64", (5, 14)),
            ("7.2-rc1", (7, 2)),
        ] {
            assert_eq!(version_of(release), Some(version), "{release}");
        }
    }

    #[test]
    fn five_sixteen_is_too_old_and_ten_is_not_older_than_five() {
        assert!(version_of("5.16.20").unwrap() < OLDEST_KERNEL);
        assert!(version_of("10.0.1").unwrap() > OLDEST_KERNEL);
    }
}
