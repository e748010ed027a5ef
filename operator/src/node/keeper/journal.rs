//! The report of a namespace and the log beside it. The report is written before the log, so that `vrfgate status` has
//! everything that the log has.

use jiff::Timestamp;
use tracing::warn;
use vrfgate_ebpf::{Netns, Store};

use super::super::{Report, words::log_changes};

/// Writes and logs what has changed of a report.
pub(super) struct Journal {
    store: Store,
    netns: Netns,
    /// As last written.
    report: Report,
    saved: bool,
    /// Mistakes in the last request. They stand until there is another.
    mistakes: Vec<String>,
}

impl Journal {
    /// Takes over the repairs of an earlier keeper, which only its report has. The rest of that report is dropped: it may be
    /// another version's.
    pub(super) fn resume(store: &Store, netns: &Netns) -> Self {
        let before = Report::load(store, netns).ok().flatten();
        Self {
            store: store.clone(),
            netns: netns.clone(),
            report: Report {
                repairs: before.unwrap_or_default().repairs,
                ..Report::default()
            },
            saved: false,
            mistakes: Vec::new(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        self.mistakes.clone()
    }

    pub(super) fn clear_mistakes(&mut self) {
        self.mistakes.clear();
    }

    /// Reports mistakes in the last request.
    pub(super) fn report_mistakes(&mut self, mistakes: Vec<String>) {
        self.mistakes.clone_from(&mistakes);
        self.write(|report| report.errors = mistakes);
    }

    /// Reports an error beside the mistakes.
    pub(super) fn report_failure(&mut self, error: String) {
        let errors = [self.mistakes.as_slice(), &[error]].concat();
        self.write(|report| report.errors = errors);
    }

    /// Logs and reports one repair.
    pub(super) fn note_repair(&mut self, what: String) {
        warn!("{}: {what}", self.netns);
        self.write(|report| report.repairs.note(what, Timestamp::now()));
    }

    /// The file may be gone: the next [`Journal::write`] writes it even if nothing changes.
    pub(super) fn forget_saved(&mut self) {
        self.saved = false;
    }

    /// Changes the report, writes it if it differs, and logs what is new.
    pub(super) fn write(&mut self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.clone();
        change(&mut report);
        if self.saved && report == self.report {
            return;
        }
        match report.save(&self.store, &self.netns) {
            Ok(()) => self.saved = true,
            Err(error) => warn!("writing the report for `vrfgate status`: {error}"),
        }
        log_changes(&self.report, &report);
        self.report = report;
    }
}
