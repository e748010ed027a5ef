//! The released artefacts: the container image and the Debian package, unpacked and tried. `make test-packaging` makes
//! them, and names them in `IMAGE` and `DEB`. The lab installs the package and uses it (`e2e/lab/package.rs`).

mod deb;
mod image;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What both are a version of.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file that an environment variable names.
#[track_caller]
fn file_in(variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(
        || panic!("{variable} names no file; see `make test-packaging`"),
        PathBuf::from,
    )
}

/// What a command prints. It must succeed.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Unpacks a tar, compressed or not.
#[track_caller]
fn unpack(tar: &Path, into: &Path) {
    output(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(into));
}

/// The paths of all files below a directory.
#[track_caller]
fn files_below(root: &Path) -> BTreeSet<String> {
    let found = output(
        Command::new("find")
            .arg(root)
            .args(["-not", "-type", "d", "-printf", "/%P\n"]),
    );
    found.lines().map(ToOwned::to_owned).collect()
}

/// Asserts that a program brings everything along that it needs.
#[track_caller]
fn should_load_nothing(program: &Path) {
    let wanted = output(
        Command::new("readelf")
            .args(["--wide", "--dynamic", "--program-headers"])
            .arg(program),
    );
    for word in ["NEEDED", "INTERP", "RUNPATH", "RPATH"] {
        assert!(!wanted.contains(word), "{}: {wanted}", program.display());
    }
    let bytes = fs::read(program).unwrap_or_default();
    let home = env::var("HOME").unwrap_or_default();
    for path in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/.cargo")] {
        let found = bytes
            .windows(path.len())
            .any(|window| window == path.as_bytes());
        assert!(!found, "{} holds {path}", program.display());
    }
}
