//! vrfgate's user space above the gate itself: the API, and the node engine that keeps a namespace's gate in line with it.
//! [`vrfgate_core`] makes the decisions.
//!
//! Arrows point one way: `cli` → `agent` → `clear` → `node` → `facts`; `cli` → `explain` → `facts`; `cli` → `jobs` →
//! `controller` → `api`. `agent` and `leak_files` read the `api`, too. `facts` knows the plain values of the core and of
//! the loader. `install`, which `cli` and `agent` call, knows only the CNI plugin.

pub mod agent;
pub mod api;
mod clear;
pub mod cli;
pub mod controller;
mod daemon_set;
pub mod explain;
pub mod facts;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod install;
pub mod jobs;
pub mod leak_files;
mod leftovers;
pub mod node;
mod open_files;
mod outage;
mod saved_spec;
mod serve;
mod some_of;
