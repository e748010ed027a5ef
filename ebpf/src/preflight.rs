//! What a machine must have before a gate is attached. Looks, changes nothing.

use std::{fmt, fs, io};

use caps::{CapSet, Capability};
use vrfgate_machine::{is_shortage, kernel_release};

use crate::{Store, sys};

/// Where `struct bpf_sk_lookup` of `<linux/bpf.h>` has these fields. The second one came with 5.17.
const FAMILY: u8 = 8;
const INGRESS_IFINDEX: u8 = 64;
/// What is forbidden even to root (lockdown(7)).
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// The kernel's type information.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Something the gate can't do without and the machine doesn't have. Reads as one clear line, with the way
/// to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The kernel has no `sk_lookup` programs, or doesn't show them the device that a packet came through.
    Kernel {
        /// Its release, as `uname -r` says. Distributions put newer parts into kernels of an older name.
        release: String,
        /// Its error.
        cause: String,
    },
    /// The process may load no BPF programs, whatever its capabilities are.
    Forbidden {
        /// The kernel's error.
        cause: String,
    },
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
            Self::Kernel { release, cause } => write!(
                f,
                "the kernel {release} doesn't tell a BPF program which VRF a packet came through: {cause} (boot 5.17 or newer, or \
                 one of your distribution that has this from there)"
            ),
            Self::Forbidden { cause } => write!(
                f,
                "the kernel lets this process load no BPF program: {cause} (run it outside of user namespaces, and have seccomp and \
                 security modules allow bpf(2))"
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

/// Everything the machine lacks; empty when a gate can be attached. What the kernel can is tried, not concluded from its
/// release.
#[must_use]
pub fn preflight(store: &Store) -> Vec<Lack> {
    kernel().into_iter().chain(surroundings(store)).collect()
}

/// What the kernel lacks, if that is known: without the capabilities, and while the machine is short of something, it
/// refuses everything.
pub(crate) fn kernel() -> Option<Lack> {
    let cause = sys::try_sk_lookup(&reads_field(INGRESS_IFINDEX)).err()?;
    if is_shortage(&cause) || cause.kind() == io::ErrorKind::PermissionDenied && !can_load() {
        return None;
    }
    // People need to know which of the two: a kernel without such programs has to be replaced.
    let cause = match sys::try_sk_lookup(&reads_field(FAMILY)) {
        Ok(()) => "sk_lookup programs can't read ingress_ifindex".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let cause = error.to_string();
            return Some(Lack::Forbidden { cause });
        }
        Err(_) => format!("it refuses sk_lookup programs ({cause})"),
    };
    Some(Lack::Kernel {
        release: kernel_release(),
        cause,
    })
}

/// A program that reads a field of `struct bpf_sk_lookup`, of 32 bits and so many bytes from its start, and lets everything pass.
fn reads_field(at: u8) -> [[u8; 8]; 3] {
    // On machines of either byte order, the kernel runs on little-endian ones only: r0 = *(u32 *)(r1 + at); r0 = SK_PASS; exit.
    [
        [0x61, 0x10, at, 0, 0, 0, 0, 0],
        [0xb7, 0, 0, 0, 1, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ]
}

/// What the machine lacks beside its kernel.
pub(crate) fn surroundings(store: &Store) -> Vec<Lack> {
    let mut lacks = Vec::new();
    // While the machine is short of something, this is unknown; the attempt itself shows it.
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
        if !can(capability) {
            lacks.push(Lack::Capability { name, why });
        }
    }
    lacks
}

/// `CAP_SYS_ADMIN` stands in for both of BPF's (`bpf_capable()` and `perfmon_capable()` in
/// include/linux/capability.h).
fn can(capability: Capability) -> bool {
    let stand_in = capability != Capability::CAP_NET_ADMIN && has(Capability::CAP_SYS_ADMIN);
    has(capability) || stand_in
}

/// Whether this process may load `sk_lookup` programs (`bpf_prog_load`, `is_net_admin_prog_type`).
fn can_load() -> bool {
    can(Capability::CAP_BPF) && can(Capability::CAP_NET_ADMIN)
}

/// Why the kernel refuses tracing programs, if that is known without an attempt. The gate then polls the list of
/// sockets instead.
#[must_use]
pub fn no_tracing() -> Option<String> {
    let readable = fs::File::open(KERNEL_BTF);
    if let Err(error) = readable
        && !is_shortage(&error)
    {
        return Some(format!(
            "the kernel's types can't be read at {KERNEL_BTF}: {error} (CONFIG_DEBUG_INFO_BTF=y makes them)"
        ));
    }
    let lockdown = fs::read_to_string(LOCKDOWN).unwrap_or_default();
    lockdown.contains("[confidentiality]").then(|| {
        format!("the kernel is locked down for confidentiality ({LOCKDOWN}), and lets no program read its memory")
    })
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_this_kernel_does_not_have_is_noticed() {
        assert_eq!(kernel(), None);
        sys::try_sk_lookup(&reads_field(FAMILY)).unwrap();
        // Beyond the end of the structure.
        assert!(sys::try_sk_lookup(&reads_field(252)).is_err());
    }
}
