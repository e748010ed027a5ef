//! A host that changes: what comes and goes around the gate, and what others do to it.

mod bgp;
mod chaos;
mod gone;
mod others;
mod repairs;
mod rules;

use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [
        bgp::tests(),
        chaos::tests(),
        gone::tests(),
        others::tests(),
        repairs::tests(),
        rules::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
