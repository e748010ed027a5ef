//! What survives which process: nothing that is in force depends on one.

mod clear;
mod processes;
mod upgrade;

use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [clear::tests(), processes::tests(), upgrade::tests()]
        .into_iter()
        .flatten()
        .collect()
}
