//! Values that were written last, until the cache has caught up with them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The cache is believed again after this time, even if it still differs.
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
    /// Notes a value that was written.
    pub fn note(&mut self, key: &str, value: V) {
        self.0.insert(key.to_owned(), (Instant::now(), value));
    }

    /// The value that was written last, unless the cache has `caught_up` with it.
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

    /// Forgets everything: another replica may have written since.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
