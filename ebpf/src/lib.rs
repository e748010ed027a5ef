//! The gate of one network namespace: loads the BPF program, keeps its rules, and guards the sysctls that
//! would be an open door without it.
//!
//! Knows BPF, namespaces and l3mdev sysctls. It must not know where rules come from: nothing of Kubernetes,
//! of files, of routes.
//!
//! All lasting state is in the kernel, under pins, and in a small record beside them; a [`Gate`] is only a
//! handle on it. A process may be killed at any moment: what was in force stays in force, and the next
//! process goes on from there.

mod attached;
mod attachment;
mod decisions;
mod edit;
mod encode;
mod error;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod load;
mod maps;
mod membership;
pub mod netlink;
mod netns;
mod object;
mod orphans;
mod others;
mod overlap;
mod ports;
mod preflight;
mod record;
mod remains;
mod rules;
mod shortage;
mod slots;
mod sockets;
mod status;
mod store;
mod sys;
mod sysctl;
mod tracker;

pub use decisions::{Decision, Decisions};
pub use error::Error;
pub use gate::{Gate, Mended, sk_lookup_programs};
pub use maps::{Changes, Events};
pub use netns::{Netns, NetnsId};
pub use object::Capacity;
pub use orphans::{Fate, LivingNetns, Unseen, collect_orphan, collect_orphans};
pub use others::OtherProgram;
pub use ports::{SharedPort, SharedPorts, kernel_is_concerned, shared_ports};
pub use preflight::{Lack, kernel_release, no_tracing, preflight};
pub use rules::{Mode, Needs, Opening, Protocol, Rule, RuleError, RuleSet, Vrf};
pub use shortage::is_shortage;
pub use sockets::{OpenSocket, SocketsInSight, Unlisted, open_sockets, sockets_in_sight};
pub use status::{GateStatus, Hits, RuleStatus, SysctlStatus, VrfStatus};
pub use store::{Store, remove_replaced, replace_file};
pub use sys::{TestPacket, TestRun, give_back_memory, test_run};
pub use sysctl::{L3mdevAccept, sysctls_at};
pub use tracker::Tracing;
pub use vrfgate_abi::{Event, LAYOUT, NO_RULE, REFUSED, WOULD_REFUSE};
