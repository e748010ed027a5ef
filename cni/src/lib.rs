//! `vrfgate` as a chained CNI plugin: brings the gate into pods that hold VRFs.
//!
//! Knows the CNI protocol and its own configuration. It never talks to the API server, and works without an agent:
//! rules that depend on the cluster are the agent's business.
//!
//! It runs for milliseconds, once for each change of a pod's network. What has to outlive it is in the kernel, as
//! everywhere in vrfgate, and in one record for each attachment ([`Attachment`]). An agent learns of attachments by
//! these records, and of changes by the messages of [`agent`].

pub mod agent;
mod attachment;
mod config;
mod facts;
mod force;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod lock;
mod log;
mod plugin;
mod protocol;
mod rules;
mod stamp;
mod verbs;

pub use attachment::{Attachment, Attachments, Key, NetnsPlace, Pod, Survey, Whereabouts};
pub use config::{MANAGED_BY, Port, Prefix, Service, ServiceName, VrfName, check_own};
pub use facts::{Facts, Link, LocalAddress};
pub use force::bring_in_line;
pub use log::OneLine;
pub use plugin::{UNINSTALLED, main};
pub use protocol::check_version;
pub use rules::{Contradiction, Opened, contradiction, left_out, opened, rule_set};
pub use stamp::version_of;
