//! Why a packet does or doesn't reach a service: the judgement, and the clashes of ports.
//!
//! Plain values in, plain values out, as in [`vrfgate_core`]. Nothing here asks the kernel: its
//! answers arrive as [`Facts`], and the gate, as it is in force, as the loader's plain values.

mod access;
mod arrival;
mod beyond;
mod clashes;
mod facts;
mod gate;
mod judge;
mod local;
mod policy;
mod reply;
mod sockets;

pub use access::{Access, Closed, closed};
pub use beyond::{end_of_table, goes_on};
pub use clashes::{Clash, Party, clashes};
pub use facts::{
    Answer, Facts, NoWay, Processes, Question, QuestionError, Replies, RouteFact, RouteKind,
    Steered,
};
pub use judge::{Explanation, Sees, Stage, Step, Verdict};
pub use policy::{PolicyRule, RuleAction};

#[cfg(test)]
mod tests;
