//! Who gets in, and who does not.

mod audit;
mod bound;
mod changes;
mod groups;
mod local;
mod model;
mod on_purpose;
mod room;
mod services;
mod sshd;
mod stock;
mod ways;

use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [
        audit::tests(),
        bound::tests(),
        changes::tests(),
        groups::tests(),
        local::tests(),
        model::tests(),
        on_purpose::tests(),
        room::tests(),
        services::tests(),
        sshd::tests(),
        stock::tests(),
        ways::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
