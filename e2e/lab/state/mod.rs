//! What survives whom: nothing that is in force hangs on a process.

mod clear;
mod processes;

use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [clear::tests(), processes::tests()]
        .into_iter()
        .flatten()
        .collect()
}
