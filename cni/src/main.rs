//! The executable that container runtimes start, under the name `vrfgate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vrfgate_cni::main()
}
