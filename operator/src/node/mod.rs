//! The node engine: keeps gates, routes and reply steering of network namespaces in line with leaks. Takes leaks as values
//! of the core, and facts from netlink; must not know files, Kubernetes or pods.
//!
//! Level-triggered: every change leads to a reconciliation of everything, which applies a minimal difference. No event is
//! interpreted, so none can be missed or misread.

mod admission;
mod clashes;
mod closings;
mod engine;
mod facts;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod hand_over;
mod keeper;
mod kernel;
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
pub use hand_over::{Offer, TakeOver};
pub use keeper::{Event, KeepError, Keeper, Settings};
pub use kernel::Change;
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
