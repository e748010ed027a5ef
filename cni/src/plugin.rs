//! The plugin as a process: environment and stdin in, one verb, one JSON object and an exit code out.

use std::{
    env,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::json;
use tracing::{error, warn};

use crate::{
    config::Places,
    log,
    protocol::{Call, Code, Environment, Failure, Input, SpecVersion, Verb},
    verbs,
};

/// A file beside the plugin. While it exists, the plugin only releases pods. Some container runtimes keep the configuration
/// of a pod's ADD, and need the plugin for the pod's DEL even after vrfgate was uninstalled.
pub const UNINSTALLED: &str = ".vrfgate.uninstalled";

/// Longest network configuration, in bytes. An API server stores no object of a tenth of that.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

/// Runs the plugin with the arguments of this process. `about` is the output of `--version`.
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
    let stated = Input::stated_version(&input);
    let version = stated
        .as_deref()
        .unwrap_or(SpecVersion::NEWEST.as_str())
        .to_owned();
    match read.and_then(|()| answer(&input, &version, about)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(answer)) => print(&answer),
        Err(failure) => {
            // Logged, too: a runtime may drop its answer.
            error!("{}", failure.details);
            print(&failure.to_json(&version));
            ExitCode::FAILURE
        }
    }
}

/// Reads nothing from a terminal, where a person would have to type it.
fn read_input(input: &mut Vec<u8>) -> Result<(), Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(());
    }
    stdin
        .take(MAX_INPUT + 1)
        .read_to_end(input)
        .map_err(|error| Failure::new(Code::Io, format!("reading stdin: {error}")))?;
    if input.len() as u64 > MAX_INPUT {
        input.clear();
        let why =
            format!("stdin: is longer than {MAX_INPUT} bytes, which no network configuration is");
        return Err(Failure::new(Code::Decoding, why));
    }
    Ok(())
}

fn answer(input: &[u8], version: &str, about: &str) -> Result<Option<String>, Failure> {
    let environment = Environment::of_this_process()?;
    if !environment.has_command() {
        eprintln!("{about}: container runtimes start this program; only `--version` is for people");
    }
    let call = environment.call()?;
    if call.verb() == Verb::Version {
        let supported = SpecVersion::ALL.map(SpecVersion::as_str);
        let answer = json!({"cniVersion": version, "supportedVersions": supported});
        return Ok(Some(answer.to_string()));
    }
    let input = Input::parse(input)?;
    input.version.allow(call.verb())?;
    let uninstalled = uninstalled();
    if let Some(mark) = &uninstalled {
        let why = format!(
            "vrfgate was uninstalled from this node, as {} shows; remove the plugin from this network configuration, or put it into \
             use again with `vrfgate install-cni`",
            mark.display()
        );
        match call.verb() {
            Verb::Add => return Err(Failure::new(Code::Uninstalled, why)),
            Verb::Status => return Err(Failure::new(Code::NotAvailable, why)),
            // There is nothing to check any more.
            Verb::Check => return Ok(None),
            Verb::Del | Verb::Gc | Verb::Version => {}
        }
    }
    let releases = matches!(call.verb(), Verb::Del | Verb::Gc);
    let places = match Places::of_this_node() {
        // The file may have been removed with the rest.
        Err(_) if releases && uninstalled.is_some() => Places::default(),
        places => places?,
    };
    match log::start(&places) {
        // A log that can't be written must not keep a pod from ending.
        Err(failure) if releases => {
            let _ = log::start(&places.with_log_on_stderr());
            warn!("{}", failure.details);
        }
        started => started?,
    }
    match call {
        Call::Add(container, netns) => verbs::add(&container, &netns, &input, &places).map(Some),
        Call::Del(container) => verbs::del(&container, &input, &places).map(|()| None),
        Call::Check(container, netns) => {
            verbs::check(&container, &netns, &input, &places).map(|()| None)
        }
        Call::Gc => verbs::gc(&input, &places).map(|()| None),
        Call::Status => verbs::status(&input, &places).map(|()| None),
        // Answered above, without a configuration.
        Call::Version => Ok(None),
    }
}

/// The path of [`UNINSTALLED`], if that file exists.
fn uninstalled() -> Option<PathBuf> {
    let mark = env::current_exe().ok()?.with_file_name(UNINSTALLED);
    mark.exists().then_some(mark)
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
