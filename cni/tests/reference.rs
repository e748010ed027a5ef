//! The table of `conformance` against a reference plugin: its column about these must be true, too.
//!
//! `make test-cni` sets `CNI_PLUGINS`, the directory of the plugins by the specification's authors.

mod common;

use std::{env, path::PathBuf};

use common::{
    Plugin, Sandbox,
    table::{Row, TABLE, play},
};
use serde_json::json;

fn tuning(sandbox: &Sandbox) -> Plugin {
    let directory = env::var_os("CNI_PLUGINS")
        .map(PathBuf::from)
        .expect("CNI_PLUGINS is not set: `make test-cni` builds the reference plugins and sets it");
    Plugin {
        program: directory.join("tuning"),
        own: json!({"dataDir": sandbox.path("run")}),
    }
}

/// `tuning` is chained, as vrfgate is.
#[test]
fn tuning_answers_as_the_table_says() {
    let differing = TABLE
        .iter()
        .filter(|row| row.theirs() != row.ours())
        .count();
    let mut alike = 0;
    play(tuning, Row::theirs, |row, _, _, _| {
        alike += usize::from(row.theirs() == row.ours());
    });
    println!(
        "{alike} answers alike; {differing} rows differ, for the reasons that the table gives"
    );
}
