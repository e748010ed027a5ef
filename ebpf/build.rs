//! Chooses the BPF object that is compiled in: the committed one, or the one `VRFGATE_OBJECT` names (a
//! release's own build, or a fresh one under test).

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=VRFGATE_OBJECT");
    let committed = || {
        let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
        PathBuf::from(package).join("object/vrfgate.bpf.o")
    };
    let object = env::var_os("VRFGATE_OBJECT").map_or_else(committed, PathBuf::from);
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rustc-env=VRFGATE_OBJECT={}", object.display());
}
