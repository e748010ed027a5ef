//! How often a part may be put back that something else removes.
//!
//! That happens once or twice when a primary CNI plugin starts. More often, it is a fight that looping can't win: it is
//! reported, and the part is put back only once a minute, until it has stayed for a minute.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// This many times within [`WINDOW`] are a fight.
pub const MOST: usize = 5;

/// The time that counts, and the time between two tries in a fight.
pub const WINDOW: Duration = Duration::from_mins(1);

/// The pace of one thing.
#[derive(Debug, Default)]
pub struct Pace {
    /// The last ones.
    writes: VecDeque<Instant>,
    contested: bool,
}

impl Pace {
    /// Whether something else fights for it.
    pub const fn contested(&self) -> bool {
        self.contested
    }

    /// Time until it may be written; none when it may be now.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let last = self.writes.back().filter(|_| self.contested)?;
        let wait = WINDOW.saturating_sub(now.duration_since(*last));
        (!wait.is_zero()).then_some(wait)
    }

    /// It was written.
    pub fn wrote(&mut self, now: Instant) {
        self.writes.push_back(now);
        while self.writes.len() > MOST {
            self.writes.pop_front();
        }
        let first = self.writes.front().copied().unwrap_or(now);
        if self.writes.len() == MOST && now.duration_since(first) < WINDOW {
            self.contested = true;
        }
    }

    /// It was found in its place.
    pub fn found(&mut self, now: Instant) {
        if self.contested && self.wait(now).is_none() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_primary_plugin_that_starts_twice_in_a_minute_is_no_fight() {
        let mut pace = Pace::default();
        let start = Instant::now();
        for second in [0, 1, 20, 40, 61, 62, 81] {
            let now = start + seconds(second);
            assert_eq!(pace.wait(now), None, "at {second}");
            pace.wrote(now);
            assert!(!pace.contested(), "at {second}");
        }
    }

    #[test]
    fn what_is_taken_away_again_and_again_is_put_back_once_a_minute() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut writes = Vec::new();
        for tenth in 0..3000 {
            let now = start + Duration::from_millis(100) * tenth;
            if pace.wait(now).is_none() {
                pace.wrote(now);
                writes.push(tenth / 10);
            }
        }
        assert_eq!(writes, [0, 0, 0, 0, 0, 60, 120, 180, 240]);
        assert!(pace.contested());
    }

    #[test]
    fn a_fight_is_over_when_it_has_stayed_for_a_minute() {
        let mut pace = Pace::default();
        let start = Instant::now();
        for _ in 0..MOST {
            pace.wrote(start);
        }
        pace.found(start + seconds(59));
        assert!(pace.contested());
        assert_eq!(pace.wait(start + seconds(59)), Some(seconds(1)));
        pace.found(start + seconds(60));
        assert!(!pace.contested());
        for _ in 1..MOST {
            pace.wrote(start + seconds(61));
        }
        assert!(!pace.contested(), "it begins anew");
    }
}
