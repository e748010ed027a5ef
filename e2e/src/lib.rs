//! The lab: network topologies of real namespaces, and what happens to packets in them.
//!
//! A test says what there is and what shall happen, and nothing else:
//!
//! ```no_run
//! use vrfgate_e2e::Lab;
//!
//! let lab = Lab::new();
//! let client = lab.vrf("BLUE").slave("blue1", "10.0.0.1/24").client("10.0.0.2/24");
//! let _ssh = lab.listen("ssh").tcp("[::]:22");
//!
//! client.connect("192.0.2.1:22").should_be_refused();
//! lab.accept_l3mdev(true);
//! client.connect("192.0.2.1:22").should_reach("ssh");
//! ```
//!
//! Everything is in namespaces of the test's own and goes with it, so tests run side by side. What a lab
//! can't set up is a failed test: these functions panic, and the message says what the kernel said.
//!
//! Knows Linux and the command line of `vrfgate`, none of its code.

// A panic is how a test fails; the methods that fail tests are named `should_…`.
#![allow(clippy::missing_panics_doc)]

mod agent;
mod attempt;
mod bgp;
mod cni;
mod conversation;
pub mod dns;
mod host;
mod lab;
mod listener;
mod load;
mod outcome;
mod scanner;
mod udp;
mod vrfgate;

pub use agent::Agent;
pub use attempt::{Attempt, Transport};
pub use bgp::Bgp;
pub use cni::{Answer, CniNode, Interface, use_cni};
pub use conversation::Conversation;
pub use host::Host;
pub use lab::{Lab, Slave, Vrf};
pub use listener::{Listener, Plan};
pub use load::Load;
pub use outcome::Outcome;
pub use scanner::{Open, Scanner};
pub use udp::ReplyFrom;
pub use vrfgate_sandbox::{Netns, ReallyClosed, Started, detach_link, soon};

pub use vrfgate::{Vrfgate, complaint, program, use_vrfgate};
