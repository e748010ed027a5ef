//! vrfgate's user space above the gate itself: the API, and the node engine that keeps a namespace's gate in line with it.
//! What is decided is decided in [`vrfgate_core`].
//!
//! Arrows point one way: `cli` → `agent`, `clear` → `node` → `api`, `explain`; `cli` → `jobs` → `controller` → `api`.
//! `explain` knows the plain values of the core and of the loader. `install`, which `cli` and `agent` call, knows only the
//! CNI plugin.

pub mod agent;
pub mod api;
mod clear;
pub mod cli;
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
