//! From a process to a verb and back: environment and stdin in, one JSON object and an exit code out.

use std::{
    env,
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
};

use serde_json::json;
use tracing::error;

use crate::{
    config::Places,
    log,
    protocol::{Call, Code, Environment, Failure, Input, SpecVersion, Verb},
    verbs,
};

/// Runs the plugin. Its arguments are the process's; `about` is what it says of itself.
#[must_use]
pub fn main(about: &str) -> ExitCode {
    if env::args_os()
        .nth(1)
        .is_some_and(|word| word == "--version")
    {
        return print(about);
    }
    let mut input = Vec::new();
    let read = read_input(&mut input);
    let told = Input::told_version(&input);
    let version = told
        .as_deref()
        .unwrap_or(SpecVersion::NEWEST.as_str())
        .to_owned();
    match read.and_then(|()| answer(&input, &version, about)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(answer)) => print(&answer),
        Err(failure) => {
            // Said twice: what a runtime does with the first is its own business.
            error!("{}", failure.details);
            print(&failure.to_json(&version));
            ExitCode::FAILURE
        }
    }
}

/// Nothing is read where a person would have to type it.
fn read_input(input: &mut Vec<u8>) -> Result<(), Failure> {
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(());
    }
    stdin
        .read_to_end(input)
        .map(drop)
        .map_err(|error| Failure::new(Code::Io, format!("reading stdin: {error}")))
}

fn answer(input: &[u8], version: &str, about: &str) -> Result<Option<String>, Failure> {
    let environment = Environment::of_this_process()?;
    if !environment.has_command() {
        eprintln!(
            "{about}: a container runtime starts it, for the sake of pods; `--version` is for people"
        );
    }
    let call = environment.call()?;
    if call.verb() == Verb::Version {
        let supported = SpecVersion::ALL.map(SpecVersion::as_str);
        let answer = json!({"cniVersion": version, "supportedVersions": supported});
        return Ok(Some(answer.to_string()));
    }
    let input = Input::parse(input)?;
    input.version.allow(call.verb())?;
    let places = Places::of(&input)?;
    log::start(&places)?;
    match call {
        Call::Add(container, netns) => verbs::add(&container, &netns, &input, &places).map(Some),
        Call::Del(container) => verbs::del(&container, &input, &places).map(|()| None),
        Call::Check(container, netns) => {
            verbs::check(&container, &netns, &input, &places).map(|()| None)
        }
        Call::Gc => verbs::gc(&input, &places).map(|()| None),
        Call::Status => verbs::status(&input, &places).map(|()| None),
        // Answered above: it takes no configuration.
        Call::Version => Ok(None),
    }
}

fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrfgate: writing to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}
