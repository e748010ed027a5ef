//! From a process to a verb and back: environment and stdin in, one JSON object and an exit code out.

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

/// A file beside the plugin, which says that the plugin does no more than let pods go. Container runtimes that keep the
/// configuration of a pod's ADD want it for the pod's DEL, whatever has become of vrfgate meanwhile.
pub const UNINSTALLED: &str = ".vrfgate.uninstalled";

/// Of a network configuration, in bytes. An API server keeps none of a tenth of that.
const LONGEST: u64 = 16 * 1024 * 1024;

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
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(());
    }
    stdin
        .take(LONGEST + 1)
        .read_to_end(input)
        .map_err(|error| Failure::new(Code::Io, format!("reading stdin: {error}")))?;
    if input.len() as u64 > LONGEST {
        input.clear();
        let why =
            format!("stdin: is longer than {LONGEST} bytes, which no network configuration is");
        return Err(Failure::new(Code::Decoding, why));
    }
    Ok(())
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
    let uninstalled = uninstalled();
    if let Some(mark) = &uninstalled {
        let why = format!(
            "vrfgate was uninstalled from this node, as {} says; take the plugin out of this network configuration, or put it into \
             use again by `vrfgate install-cni`",
            mark.display()
        );
        match call.verb() {
            Verb::Add => return Err(Failure::new(Code::Uninstalled, why)),
            Verb::Status => return Err(Failure::new(Code::NotAvailable, why)),
            // Nothing is asked for any more.
            Verb::Check => return Ok(None),
            Verb::Del | Verb::Gc | Verb::Version => {}
        }
    }
    let lets_go = matches!(call.verb(), Verb::Del | Verb::Gc);
    let places = match Places::of_this_node() {
        // What was said there may be gone with the rest.
        Err(_) if lets_go && uninstalled.is_some() => Places::default(),
        places => places?,
    };
    match log::start(&places) {
        // A pod that can't be told of must be able to go all the same.
        Err(failure) if lets_go => {
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
        // Answered above: it takes no configuration.
        Call::Version => Ok(None),
    }
}

/// The mark by which the plugin stays only to let pods go, if it is there.
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
