//! The `vrfgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vrfgate_operator::cli::main()
}
