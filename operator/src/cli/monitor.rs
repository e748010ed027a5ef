//! `vrfgate monitor`

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tracing::info;
use vrfgate_ebpf::{Decision, Decisions, Store};

use super::{Output, Target, signals::Stop};

/// How often to poll the ring buffer: the gate wakes no reader, which would cost each packet.
const POLL_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,

    /// Show this VRF only.
    #[arg(long, value_name = "NAME")]
    vrf: Option<String>,

    /// Show refusals only, and not what an audited VRF would refuse.
    #[arg(long)]
    drops: bool,

    /// Form of output; `json` is one object a line.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// For programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    vrf: &'a str,
    protocol: vrfgate_core::Protocol,
    from: SocketAddr,
    to: SocketAddr,
    verdict: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
}

pub(super) fn monitor(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    let netns = args.target.open()?;
    let Some(mut decisions) = Decisions::open(store, &netns)? else {
        bail!("{netns}: there is no gate to watch; `vrfgate run` puts one in");
    };
    info!("watching the gate of {netns}");
    super::block_on(async {
        let mut stop = Stop::listen()?;
        let mut poll = tokio::time::interval(POLL_EVERY);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                () = stop.requested() => break,
            }
            match show(args, &decisions.take()?) {
                // The reader has closed the pipe.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                shown => shown.context("writing")?,
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn show(args: &Args, decisions: &[Decision]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let wanted = decisions
        .iter()
        .filter(|decision| args.vrf.as_ref().is_none_or(|vrf| *vrf == decision.vrf))
        .filter(|decision| decision.refused || !args.drops);
    for decision in wanted {
        let line = Line::of(decision)?;
        match args.output {
            Output::Text => writeln!(out, "{}", line.text())?,
            Output::Json => {
                serde_json::to_writer(&mut out, &line)?;
                writeln!(out)?;
            }
        }
    }
    out.flush()
}

impl<'a> Line<'a> {
    fn of(decision: &'a Decision) -> io::Result<Self> {
        let Decision {
            time,
            vrf,
            rule,
            protocol,
            from,
            to,
            refused,
        } = decision;
        let time = Timestamp::try_from(*time).map_err(io::Error::other)?;
        Ok(Self {
            time: format!("{time:.6}"),
            vrf,
            protocol: *protocol,
            from: *from,
            to: *to,
            verdict: if *refused { "Refused" } else { "WouldRefuse" },
            reason: if rule.is_some() {
                "SourceNotAllowed"
            } else {
                "NotListed"
            },
            rule: rule.as_deref(),
        })
    }

    fn text(&self) -> String {
        let Self {
            time,
            vrf,
            protocol,
            from,
            to,
            verdict,
            reason: _,
            rule,
        } = self;
        let verdict = match *verdict {
            "Refused" => "refused",
            _ => "would refuse",
        };
        let why = rule.map_or_else(
            || "no rule lists it".to_owned(),
            |rule| format!("rule {rule} is for other clients"),
        );
        format!("{time} {vrf} {protocol} {from} > {to} {verdict}: {why}")
    }
}
