//! The API server goes and comes back: each is told once, however many ask it and however often.
//!
//! What it answers, such as that something is forbidden, is told by whom it is answered to, each time it is
//! something else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{Error, runtime::watcher};
use tracing::{debug, info, warn};

/// What one process knows of it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Who gets no answer.
    unanswered: BTreeSet<String>,
    /// Who gets an answer that is an error, and which.
    refused: BTreeMap<String, String>,
}

/// What is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum News {
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
        self.tell(what, error, answered);
    }

    /// A request failed.
    pub fn failed(&self, what: &str, error: &Error) {
        self.tell(what, error, matches!(error, Error::Api(_)));
    }

    /// There was no answer in time.
    pub fn timed_out(&self, what: &str) {
        self.tell(what, &"the API server doesn't answer", false);
    }

    /// It worked.
    pub fn worked(&self, what: &str) {
        if self.state().work(what) == News::Back {
            info!("the API server answers again");
        }
    }

    fn tell(&self, what: &str, error: &dyn Display, answered: bool) {
        let news = self.state().fail(what, &error.to_string(), answered);
        match news {
            News::Away => warn!(
                "{what}: {error}; what is known and in force stays until the API server is back"
            ),
            News::Refused => warn!("{what}: {error}; what is known and in force stays"),
            News::Back | News::Nothing => debug!("{what}: {error}"),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, what: &str, error: &str, answered: bool) -> News {
        if answered {
            self.unanswered.remove(what);
            let former = self.refused.insert(what.to_owned(), error.to_owned());
            return if former.as_deref() == Some(error) {
                News::Nothing
            } else {
                News::Refused
            };
        }
        let first = self.unanswered.is_empty();
        self.unanswered.insert(what.to_owned());
        if first { News::Away } else { News::Nothing }
    }

    fn work(&mut self, what: &str) -> News {
        self.refused.remove(what);
        if self.unanswered.remove(what) && self.unanswered.is_empty() {
            News::Back
        } else {
            News::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{News, State};

    #[test]
    fn that_the_api_server_is_away_and_that_it_is_back_is_told_once() {
        let mut state = State::default();
        assert_eq!(state.fail("nodes", "no route", false), News::Away);
        assert_eq!(state.fail("leaks", "refused", false), News::Nothing);
        assert_eq!(state.fail("nodes", "refused", false), News::Nothing);
        assert_eq!(state.work("nodes"), News::Nothing);
        assert_eq!(state.work("leaks"), News::Back);
        assert_eq!(state.work("leaks"), News::Nothing);
        assert_eq!(state.fail("leaks", "refused", false), News::Away);
    }

    #[test]
    fn an_answer_that_is_an_error_is_told_when_it_is_another_one() {
        let mut state = State::default();
        assert_eq!(state.fail("nodes", "no route", false), News::Away);
        assert_eq!(state.fail("leaks", "forbidden", true), News::Refused);
        assert_eq!(state.fail("leaks", "forbidden", true), News::Nothing);
        assert_eq!(state.fail("leaks", "not found", true), News::Refused);
        assert_eq!(state.work("leaks"), News::Nothing);
        assert_eq!(state.fail("leaks", "not found", true), News::Refused);
    }
}
