//! The executable that container runtimes start, under the name `vrfgate`.

use std::process::ExitCode;

/// The output of `--version`. It is one text in the executable, so that an installer reads the version without running a
/// file that may be anything: see `vrfgate_cni::version_of`.
#[used]
static ABOUT: &str = concat!(
    "vrfgate CNI plugin ",
    env!("CARGO_PKG_VERSION"),
    " (CNI 0.3.1, 0.4.0, 1.0.0, 1.1.0)"
);

fn main() -> ExitCode {
    vrfgate_cni::main(ABOUT)
}
