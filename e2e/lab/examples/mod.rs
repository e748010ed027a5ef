//! Every example of the documents and of the chart, to the letter, in a real gate, and used by a client.
//!
//! The examples are found in the files themselves: a new one is tested, or its file fails here.

mod found;
mod world;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::suite::{beside_others, trial};

/// A test for each file that holds examples.
pub fn tests() -> Vec<Trial> {
    let mut tests = vec![trial("examples::there_are_some_to_try".to_owned(), || {
        beside_others(some);
    })];
    for (file, examples) in found::all() {
        let name = format!("examples::a_client_uses_what_is_shown_in::{file}");
        tests.push(trial(name, move || {
            beside_others(|| {
                for example in &examples {
                    world::show(example);
                }
            });
        }));
    }
    tests
}

/// README, the pages of docs, the chart's examples and notes, and the package's example, at least.
fn some() {
    let files: Vec<String> = found::all().into_iter().map(|(file, _)| file).collect();
    for file in [
        "README.md",
        "charts/vrfgate/examples/ingress.yaml",
        "charts/vrfgate/examples/management.yaml",
        "charts/vrfgate/examples/multus.yaml",
        "charts/vrfgate/examples/tenants.yaml",
        "charts/vrfgate/templates/NOTES.txt",
        "docs/one-machine.md",
        "docs/pods.md",
        "operator/packaging/debian/blue.yaml.example",
    ] {
        assert!(files.iter().any(|found| found == file), "{file}: {files:?}");
    }
}

/// Something that a reader may copy.
#[derive(Clone, Debug)]
enum Example {
    /// Objects that belong together, in their order; and their text where `vrfgate run` shall read it.
    Objects(Vec<Value>, String),
    /// A CNI configuration list.
    List(Value),
}
