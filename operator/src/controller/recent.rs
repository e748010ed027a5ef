//! What was written last, until the cache has caught up with it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A cache that lags longer than this is taken at its word again.
const LAG: Duration = Duration::from_secs(30);

/// Values by key that were written, but may not have come back by the watch yet.
#[derive(Debug)]
pub struct Recent<V>(HashMap<String, (Instant, V)>);

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<V> Recent<V> {
    /// Notes what was written.
    pub fn note(&mut self, key: &str, value: V) {
        self.0.insert(key.to_owned(), (Instant::now(), value));
    }

    /// What was written last, unless `caught_up` says that the cache is as new.
    pub fn get(&mut self, key: &str, caught_up: impl FnOnce(&V) -> bool) -> Option<&V> {
        let (at, value) = self.0.get(key)?;
        if at.elapsed() > LAG || caught_up(value) {
            self.0.remove(key);
        }
        self.0.get(key).map(|(_, value)| value)
    }

    /// Forgets one.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Forgets everything: somebody else may have written since.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
