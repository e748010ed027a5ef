//! Logs outages of the API server: one line when it goes, and one when it is back, however many requests fail.
//!
//! An error that it answers with, such as that something is forbidden, is logged for each request whenever it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{Error, runtime::watcher};
use tracing::{debug, info, warn};

/// State of the API server, as one process knows it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Requests without an answer.
    unanswered: BTreeSet<String>,
    /// Requests that are answered by an error, and the error.
    refused: BTreeMap<String, String>,
}

/// A change of the state that is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Away,
    Refused,
    Back,
    Nothing,
}

impl Outage {
    /// A watch broke or could not begin.
    pub fn watch_failed(&self, what: &str, error: &watcher::Error) {
        let answered = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => matches!(error, Error::Api(_)),
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => true,
        };
        self.note(what, error, answered);
    }

    /// A request failed.
    pub fn failed(&self, what: &str, error: &Error) {
        self.note(what, error, matches!(error, Error::Api(_)));
    }

    /// There was no answer in time.
    pub fn timed_out(&self, what: &str) {
        self.note(what, &"the API server doesn't answer", false);
    }

    /// It worked.
    pub fn worked(&self, what: &str) {
        if self.state().work(what) == Change::Back {
            info!("the API server answers again");
        }
    }

    fn note(&self, what: &str, error: &dyn Display, answered: bool) {
        let change = self.state().fail(what, &error.to_string(), answered);
        match change {
            Change::Away => warn!(
                "{what}: {error}; what is known and in force stays until the API server is back"
            ),
            Change::Refused => warn!("{what}: {error}; what is known and in force stays"),
            Change::Back | Change::Nothing => debug!("{what}: {error}"),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, what: &str, error: &str, answered: bool) -> Change {
        if answered {
            self.unanswered.remove(what);
            let former = self.refused.insert(what.to_owned(), error.to_owned());
            return if former.as_deref() == Some(error) {
                Change::Nothing
            } else {
                Change::Refused
            };
        }
        let first = self.unanswered.is_empty();
        self.unanswered.insert(what.to_owned());
        if first { Change::Away } else { Change::Nothing }
    }

    fn work(&mut self, what: &str) -> Change {
        self.refused.remove(what);
        if self.unanswered.remove(what) && self.unanswered.is_empty() {
            Change::Back
        } else {
            Change::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, State};

    #[test]
    fn that_the_api_server_is_away_and_that_it_is_back_is_told_once() {
        let mut state = State::default();
        assert_eq!(state.fail("nodes", "no route", false), Change::Away);
        assert_eq!(state.fail("leaks", "refused", false), Change::Nothing);
        assert_eq!(state.fail("nodes", "refused", false), Change::Nothing);
        assert_eq!(state.work("nodes"), Change::Nothing);
        assert_eq!(state.work("leaks"), Change::Back);
        assert_eq!(state.work("leaks"), Change::Nothing);
        assert_eq!(state.fail("leaks", "refused", false), Change::Away);
    }

    #[test]
    fn an_answer_that_is_an_error_is_told_when_it_is_another_one() {
        let mut state = State::default();
        assert_eq!(state.fail("nodes", "no route", false), Change::Away);
        assert_eq!(state.fail("leaks", "forbidden", true), Change::Refused);
        assert_eq!(state.fail("leaks", "forbidden", true), Change::Nothing);
        assert_eq!(state.fail("leaks", "not found", true), Change::Refused);
        assert_eq!(state.work("leaks"), Change::Nothing);
        assert_eq!(state.fail("leaks", "not found", true), Change::Refused);
    }
}
