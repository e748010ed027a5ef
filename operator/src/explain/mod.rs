//! Why a packet does or doesn't reach a service.
//!
//! Plain values in, plain values out, as in [`vrfgate_core`], whose decision about the packet is rendered here. Nothing
//! here asks the kernel: its answers arrive as [`crate::facts::Facts`], the gate in force among them.
//!
//! `walk` goes through the stages `device` (or `local`), `arrival`, `gate` and `reply`. They share a `case`, and end in
//! an `explanation`.

mod arrival;
mod case;
mod device;
mod explanation;
mod gate;
mod local;
mod met;
mod no_way;
mod reply;
mod sockets;
mod walk;

pub use explanation::{Explanation, Sees, Stage, Step, Verdict};

#[cfg(test)]
mod tests;
