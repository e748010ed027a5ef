//! The gate of one network namespace: loads the BPF program, keeps its rules, and switches the sysctls that would let
//! every packet in without it.
//!
//! Knows BPF, namespaces and l3mdev sysctls. It must not know where rules come from: nothing of Kubernetes,
//! of files, of routes.
//!
//! All lasting state is in the kernel, under pins, and in a small record beside them; a [`Gate`] is only a handle on it.
//! A process may be killed at any moment: what was in force stays in force, and the next process continues from there.

mod attached;
mod attachment;
mod causes;
mod decisions;
mod edit;
mod encode;
mod error;
mod events;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod layout;
mod load;
mod maps;
mod membership;
pub mod netlink;
mod netns;
mod object;
mod orphans;
mod others;
mod pins;
mod ports;
mod preflight;
mod record;
mod remains;
mod room;
mod shared_port;
mod slots;
mod sockets;
mod status;
mod store;
mod sys;
mod sysctl;
mod tracker;

pub use decisions::{Decision, Decisions};
pub use error::Error;
#[cfg(feature = "test-run")]
pub use events::Events;
pub use gate::{Gate, Repaired, sk_lookup_programs};
pub use maps::Changes;
pub use netns::Netns;
pub use object::Capacity;
pub use orphans::{Fate, LivingNetns, Unseen, collect_orphan, collect_orphans};
pub use others::OtherProgram;
pub use ports::{kernel_is_concerned, shared_ports};
pub use preflight::{Lack, no_tracing, preflight};
pub use room::{Needs, RoomError};
pub use shared_port::{SharedPort, SharedPorts};
pub use sockets::{SocketsInSight, Unlisted, open_sockets, sockets_in_sight};
pub use status::{GateStatus, Hits, RuleStatus, SysctlStatus, VrfStatus};
pub use store::Store;
#[cfg(feature = "test-run")]
pub use sys::{TestPacket, TestRun, test_run};
pub use sysctl::{L3mdevAccept, sysctls_at};
pub use tracker::Tracing;
pub use vrfgate_abi::LAYOUT;
#[cfg(feature = "test-run")]
pub use vrfgate_abi::{Event, NO_RULE, REFUSED, WOULD_REFUSE};
pub use vrfgate_core::{NetnsId, OpenSocket};
