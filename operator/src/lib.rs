//! vrfgate's user space above the gate itself: the API, the pure compiler from leaks to rules, and the node
//! engine that keeps a namespace's gate in line with both.
//!
//! Arrows point one way: `cli` → `agent`, `clear` → `node` → `api`, `compile`, `explain`; `cli` → `jobs` → `controller` →
//! `api`, `compile`; `compile` knows nobody, `explain` the plain values of `compile` and of the loader. `install`, which
//! `cli` and `agent` call, knows only the CNI plugin.

pub mod agent;
pub mod api;
mod clear;
pub mod cli;
pub mod compile;
pub mod controller;
mod daemon_set;
pub mod explain;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod install;
pub mod jobs;
pub mod node;
mod open_files;
mod outage;
mod serve;
