//! For the fuzzer: what an agent has written down for the next one, and for `vrfgate status`.

use vrfgate_core::{NodeFacts, check_set, compile};

use super::{asked::Asked, pods};
use crate::{api::VrfGateNodeSpec, node::Report};

pub use pods::fuzz::{attachments, notice};

/// The specification that was in force last, or a report.
pub fn files(bytes: &[u8]) {
    if let Ok(spec) = serde_json::from_slice::<VrfGateNodeSpec>(bytes) {
        let asked = Asked::new(&spec, None);
        if check_set(&asked.leaks).is_empty() {
            let _ = compile(&asked.leaks, &NodeFacts::default());
        }
        pods::fuzz::asked_for(&spec);
        let written = serde_json::to_vec(&spec).unwrap_or_default();
        assert_eq!(serde_json::from_slice(&written).ok(), Some(spec));
    }
    if let Ok(report) = serde_json::from_slice::<Report>(bytes) {
        let written = serde_json::to_vec(&report).unwrap_or_default();
        assert_eq!(serde_json::from_slice(&written).ok(), Some(report));
    }
}
