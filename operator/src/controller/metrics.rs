//! Metrics of the controller. No label names an object: there may be thousands.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

type Labels = [(&'static str, String); 1];

/// The controller's metrics.
#[derive(Debug)]
pub struct Metrics {
    /// 1 while this replica leads.
    pub leading: Gauge,
    /// Duration of a pass over the whole cluster, in seconds.
    pub pass_seconds: Histogram,
    /// Changes that are pending for the next pass.
    pub changes_waiting: Gauge,
    /// From the first change that a pass serves until all of it is written, in seconds.
    pub change_seconds: Histogram,
    writes: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    watch_restarts: Family<Labels, Counter>,
    nodes: Family<Labels, Gauge>,
    leaks: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            leading: Gauge::default(),
            pass_seconds: Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0]),
            changes_waiting: Gauge::default(),
            change_seconds: Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0]),
            writes: Family::default(),
            errors: Family::default(),
            watch_restarts: Family::default(),
            nodes: Family::default(),
            leaks: Family::default(),
        }
    }
}

impl Metrics {
    /// Something was written: `gate`, `status`, `finalizer` or `event`.
    pub fn wrote(&self, what: &'static str) {
        self.writes
            .get_or_create(&[("what", what.to_owned())])
            .inc();
    }

    /// Writing failed.
    pub fn failed(&self, what: &'static str) {
        self.errors
            .get_or_create(&[("what", what.to_owned())])
            .inc();
    }

    /// A watch broke.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_restarts
            .get_or_create(&[("kind", kind.to_owned())])
            .inc();
    }

    /// How many nodes are in a state.
    pub fn set_nodes(&self, state: &'static str, count: usize) {
        self.nodes
            .get_or_create(&[("state", state.to_owned())])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many leaks are in a state.
    pub fn set_leaks(&self, state: &'static str, count: usize) {
        self.leaks
            .get_or_create(&[("state", state.to_owned())])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All of them under their names.
    pub fn registry(&self) -> Arc<Registry> {
        let Self {
            leading,
            pass_seconds,
            changes_waiting,
            change_seconds,
            writes,
            errors,
            watch_restarts,
            nodes,
            leaks,
        } = self;
        let mut all = Registry::with_prefix("vrfgate_controller");
        all.register("leading", "1 while this replica leads", leading.clone());
        all.register(
            "pass_seconds",
            "Duration of a pass over the whole cluster",
            pass_seconds.clone(),
        );
        all.register(
            "changes_waiting",
            "Changes that are pending for the next pass",
            changes_waiting.clone(),
        );
        all.register(
            "change_seconds",
            "Time from a change until everything that follows from it is written",
            change_seconds.clone(),
        );
        all.register("writes", "Writes to the API server", writes.clone());
        all.register("write_errors", "Writes that failed", errors.clone());
        all.register(
            "watch_restarts",
            "Watches that broke and were started again",
            watch_restarts.clone(),
        );
        all.register("nodes", "Nodes by state of their gates", nodes.clone());
        all.register("leaks", "Leaks by state", leaks.clone());
        Arc::new(all)
    }
}
