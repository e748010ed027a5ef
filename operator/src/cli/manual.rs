//! `vrfgate completions` and `vrfgate man`, which are generated from the command line itself.

use std::{fs, io, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Writes a page for every command into this directory. Without it, the page of `vrfgate` goes to stdout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> ExitCode {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "vrfgate",
        &mut io::stdout(),
    );
    ExitCode::SUCCESS
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let command = Cli::command();
    match &args.dir {
        Some(dir) => {
            fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(command, dir))
                .with_context(|| format!("--dir {}: writing manual pages", dir.display()))?;
        }
        None => clap_mangen::Man::new(command)
            .render(&mut io::stdout())
            .context("writing the manual page")?,
    }
    Ok(ExitCode::SUCCESS)
}
