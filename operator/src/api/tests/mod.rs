//! What users meet: files in, leaks or complaints out.

mod bad_documents;
mod bad_fields;
mod bad_services;
mod cases;
mod crd;
mod good_files;
mod in_a_cluster;
mod properties;

use vrfgate_core::Leak;

use self::cases::Row;
use crate::api::read_leaks;

/// A `VrfLeak` named `blue` with the given `spec`, in YAML's flow style without the braces.
fn with_spec(spec: &str) -> String {
    with_metadata_and_spec("name: blue", spec)
}

fn with_metadata_and_spec(metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: vrfgate.dev/v1alpha1\n\
         kind: VrfLeak\n\
         metadata: {{{metadata}}}\n\
         spec: {{{spec}}}\n"
    )
}

/// The leaks of a file that must be right.
fn read(text: &str) -> Vec<Leak> {
    read_leaks("leaks.yaml", text).unwrap_or_else(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{text}\nwas refused:\n{}", errors.join("\n"))
    })
}

/// Path and message of each complaint about a file that must be wrong.
fn complaints(text: &str) -> Vec<(String, String)> {
    match read_leaks("leaks.yaml", text) {
        Ok(leaks) => panic!("{text}\nwas accepted as {leaks:#?}"),
        Err(errors) => errors
            .into_iter()
            .map(|error| (error.error.path.to_string(), error.error.message))
            .collect(),
    }
}

/// Asserts that a file gets one complaint: about `path`, with `says` in its message.
fn assert_refused(text: &str, path: &str, says: &str) {
    match complaints(text).as_slice() {
        [(at, message)] if at == path && message.contains(says) => {}
        other => panic!("{text}\nshould say {says:?} of {path:?} alone, but says {other:#?}"),
    }
}

fn assert_all_refused(rows: &[Row]) {
    for Row(spec, path, says) in rows {
        assert_refused(&with_spec(spec), path, says);
    }
}
