//! What tests need that change a kernel: namespaces and directories of their own, processes started beside sockets,
//! and one way to wait.
//!
//! Hands out names, paths and descriptors. It knows where vrfgate keeps its pins, and none of its code.
//!
//! A test can't go on without these, so most functions panic, and the message says what the kernel said.

// A panic is how a test fails.
#![allow(clippy::missing_panics_doc)]

mod ip;
mod netns;
mod place;
mod process;
mod sys;
mod wait;

pub use netns::Netns;
pub use place::Sandbox;
pub use process::{ReallyClosed, Started};
pub use sys::detach_link;
pub use wait::soon;
