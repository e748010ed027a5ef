//! The node engine: what is (netlink, files) in, what shall be out to the gate.
//!
//! Level-triggered: every change leads to a look at everything, and a minimal difference is applied. No
//! event is interpreted, so none can be missed or misread.

mod admission;
mod clashes;
mod closings;
mod engine;
mod facts;
mod files;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod hand_over;
mod keeper;
mod kernel;
mod leftovers;
mod metrics;
mod probe;
mod processes;
mod repairs;
mod report;
mod routes;
mod shared;
mod steer;
mod words;

pub use admission::{Refused, would_admit};
pub use clashes::port_clashes;
pub use closings::{closings, why_open};
pub use engine::{Engine, Outcome};
pub use facts::{FactsError, Watcher};
pub use files::LeakFiles;
pub use hand_over::{Offer, ask_to_hand_over};
pub use keeper::{KeepError, Keeper, Settings, Stir};
pub use kernel::Change;
pub use leftovers::collect_leftovers;
pub use metrics::GateMetrics;
pub use probe::{OpenEnd, ProbeError, probe};
pub use repairs::{Repair, Repairs};
pub use report::{
    LeakReport, LeakState, Reason, Report, RouteReport, RouteState, SteeredVrfReport,
    SteeringReport,
};
pub use routes::{PROTOCOL, Refusal, RouteOutcome, Theirs};
pub use shared::would_wait;
pub use steer::{MarkUser, SteerError, SteerOutcome, missing_modules};
