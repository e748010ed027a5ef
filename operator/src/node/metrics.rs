//! Metrics of a namespace's gate. Read from the kernel and the report at each scrape, so that they are true whichever
//! process keeps the gate.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use vrfgate_ebpf::{Gate, GateStatus, Netns, Store};

use super::{LeakState, Report};

/// The metrics of one namespace.
#[derive(Debug)]
pub struct GateMetrics {
    store: Store,
    netns: Netns,
}

/// Labels and value of one line. One without labels is the only one of its metric.
type Line = (Vec<(&'static str, String)>, u64);

impl GateMetrics {
    /// Of this namespace's gate.
    #[must_use]
    pub fn new(store: &Store, netns: &Netns) -> Self {
        Self {
            store: store.clone(),
            netns: netns.clone(),
        }
    }

    /// Why the gate is not in force as requested; empty when it is.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let mut unready = match Gate::inspect(&self.store, &self.netns) {
            Ok(Some(_)) => Vec::new(),
            Ok(None) => vec![format!("{} has no gate", self.netns)],
            Err(error) => vec![error.to_string()],
        };
        let report = self.report();
        unready.extend(report.pending);
        unready.extend(report.errors);
        unready
    }

    fn report(&self) -> Report {
        let report = Report::load(&self.store, &self.netns);
        report.ok().flatten().unwrap_or_default()
    }
}

impl Collector for GateMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let gate = Gate::inspect(&self.store, &self.netns).ok().flatten();
        let report = self.report();
        gauges(
            &mut encoder,
            "gate_in_force",
            "1 while the kernel runs the gate",
            vec![(vec![], u64::from(gate.is_some()))],
        )?;
        let leaks = |state: LeakState, name: &str| {
            let such = report.leaks.iter().filter(|leak| leak.state == state);
            (vec![("state", name.to_owned())], such.count() as u64)
        };
        gauges(
            &mut encoder,
            "leaks",
            "Leaks by state",
            vec![
                leaks(LeakState::InForce, "in_force"),
                leaks(LeakState::Waiting, "waiting"),
                leaks(LeakState::Failed, "failed"),
            ],
        )?;
        gauges(
            &mut encoder,
            "errors",
            "Number of reasons why the last request is not in force",
            vec![(vec![], report.errors.len() as u64)],
        )?;
        counters(
            &mut encoder,
            "repairs",
            "Repairs of what something else did to gate, sysctls or routes",
            vec![(
                vec![],
                report.repairs.all().iter().map(|repair| repair.count).sum(),
            )],
        )?;
        match &gate {
            Some(gate) => hits(&mut encoder, gate),
            None => Ok(()),
        }
    }
}

fn hits(encoder: &mut DescriptorEncoder<'_>, gate: &GateStatus) -> fmt::Result {
    let (mut passed, mut refused, mut by_vrf, mut audited) = (vec![], vec![], vec![], vec![]);
    for vrf in &gate.vrfs {
        let name = || vec![("vrf", vrf.name.clone())];
        by_vrf.push((name(), vrf.hits.refused));
        audited.push((name(), vrf.hits.would_refuse));
        for status in &vrf.rules {
            let labels = || [name(), vec![("rule", status.rule.name.clone())]].concat();
            passed.push((labels(), status.hits.passed));
            refused.push((labels(), status.hits.refused));
        }
    }
    counters(
        encoder,
        "rule_passed",
        "New connections and datagrams that a rule let in",
        passed,
    )?;
    counters(
        encoder,
        "rule_refused",
        "New connections and datagrams that a rule refused for their source",
        refused,
    )?;
    counters(
        encoder,
        "vrf_refused",
        "New connections and datagrams of a VRF that were refused",
        by_vrf,
    )?;
    counters(
        encoder,
        "vrf_would_refuse",
        "New connections and datagrams of an audited VRF that enforcing would have refused",
        audited,
    )
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    lines: Vec<Line>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in lines {
        let value = ConstCounter::new(value);
        if labels.is_empty() {
            return value.encode(metric);
        }
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    lines: Vec<Line>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in lines {
        let value = ConstGauge::new(value);
        if labels.is_empty() {
            return value.encode(metric);
        }
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
