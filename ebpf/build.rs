//! Chooses the BPF objects that are compiled in: the committed ones, or those in the directory that
//! `VRFGATE_OBJECTS` names (a release's own build, or a fresh one under test).

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=VRFGATE_OBJECTS");
    let committed = || {
        let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
        PathBuf::from(package).join("object")
    };
    let objects = env::var_os("VRFGATE_OBJECTS").map_or_else(committed, PathBuf::from);
    println!("cargo:rerun-if-changed={}", objects.display());
    println!("cargo:rustc-env=VRFGATE_OBJECTS={}", objects.display());
}
