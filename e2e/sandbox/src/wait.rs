//! Waiting for what happens by itself.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// Enough for an emulated machine under load. A test that passes waits no longer than it must.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Short, because a program that waits for the same event must not be outrun by much.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Long enough that asking costs an emulated machine little.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits until something holds, three minutes at most, and fails otherwise.
///
/// `what` says what was waited for. It is formatted only on failure, so [`std::fmt::from_fn`] can add a log or a state.
#[track_caller]
pub fn soon(what: impl Display, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    let mut pause = FIRST_PAUSE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
