//! `vrfgate explain`

use std::{fmt::Write as _, net::IpAddr, process::ExitCode};

use anyhow::Context as _;
use clap::{CommandFactory as _, error::ErrorKind};
use serde::Serialize;
use vrfgate_core::VrfName;
use vrfgate_ebpf::Store;

use super::{Cli, Output, Target, table::columns};
use crate::{explain::Explanation, facts::Question, node::probe};

/// Neither "served" nor "not served": the question could not be answered.
const NO_ANSWER: u8 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    /// The VRF that the packet comes through.
    #[arg(long, value_name = "NAME")]
    vrf: VrfName,

    /// The client's address; one of this host is that of a process here whose socket is bound to the VRF.
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,

    /// What it wants to reach, such as 192.0.2.1:22/tcp or `[2001:db8::1]:53/udp`.
    #[arg(long, value_name = "ADDRESS:PORT/PROTOCOL")]
    to: String,

    /// Form of output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// For programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    packet: Packet<'a>,
    served: bool,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Packet<'a> {
    vrf: &'a str,
    from: IpAddr,
    to: IpAddr,
    port: u16,
    protocol: vrfgate_core::Protocol,
}

/// Exits with 0 when the packet is served and answered, with 1 when not, and with 2 when that can't be determined.
pub(super) fn explain(args: &Args, store: &Store) -> ExitCode {
    let question = Question::new(args.vrf.clone(), args.from, &args.to).unwrap_or_else(|error| {
        Cli::command()
            .error(ErrorKind::ValueValidation, error)
            .exit()
    });
    match answer(args, store, &question) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vrfgate: {error:#}");
            ExitCode::from(NO_ANSWER)
        }
    }
}

fn answer(args: &Args, store: &Store, question: &Question) -> anyhow::Result<bool> {
    let netns = args.target.open()?;
    let facts = super::block_on(async { Ok(probe(store, &netns, question).await?) })?;
    let explanation = facts.explain(question);
    match args.output {
        Output::Json => println!("{}", json(question, &explanation)?),
        Output::Text => print!("{}", text(question, &explanation)?),
    }
    Ok(explanation.is_served())
}

fn json(question: &Question, explanation: &Explanation) -> anyhow::Result<String> {
    serde_json::to_string_pretty(&Report {
        packet: Packet {
            vrf: question.vrf.as_str(),
            from: question.from,
            to: question.to.ip(),
            port: question.to.port(),
            protocol: question.protocol,
        },
        served: explanation.is_served(),
        explanation,
    })
    .context("writing JSON")
}

fn text(question: &Question, explanation: &Explanation) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "{question}\n")?;
    let rows = explanation.steps.iter().map(|step| {
        [
            format!("{:?}", step.stage).to_uppercase(),
            step.finding.clone(),
        ]
    });
    writeln!(out, "{}", columns(["STAGE", "FINDING"], rows.collect()))?;
    writeln!(
        out,
        "\n{:?}: the client sees {}",
        explanation.verdict,
        explanation.client_sees.words()
    )?;
    writeln!(out, "advice: {}", explanation.advice)?;
    Ok(out)
}
