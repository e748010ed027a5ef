//! Who gets in, and who does not.

mod audit;
mod bound;
mod changes;
mod groups;
mod model;
mod room;
mod services;
mod sshd;

use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [
        audit::tests(),
        bound::tests(),
        changes::tests(),
        groups::tests(),
        model::tests(),
        room::tests(),
        services::tests(),
        sshd::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
