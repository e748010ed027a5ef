//! `vrfgate` as a chained CNI plugin: attaches the gate to pods that have VRFs.
//!
//! Owns the CNI protocol, the plugin's configuration and the records of attachments. It must not know the API server, and it
//! works without an agent: rules that depend on the cluster are the agent's.
//!
//! The plugin runs for milliseconds, once for each change of a pod's network. Its lasting state is in the kernel, as
//! everywhere in vrfgate, and in one record per attachment ([`Attachment`](vrfgate_core::Attachment)). An agent finds
//! attachments by these records, and hears of changes by the messages of [`agent`].

pub mod agent;
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
mod records;
mod rules;
mod stamp;
mod verbs;

pub use config::{MANAGED_BY, check_own};
pub use facts::{facts_of, vrfs_of};
pub use force::bring_in_line;
pub use log::OneLine;
pub use plugin::{UNINSTALLED, main};
pub use protocol::check_version;
pub use records::{Attachments, Survey, Whereabouts, find_netns, open_netns, place_of};
pub use rules::rule_set;
pub use stamp::version_of;
