//! Leaks on a node, and those that can't be in force beside each other.

use std::sync::Arc;

use crate::{Leak, LeakName, SetError, first_conflict};

/// A leak on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedLeak {
    /// The leak, with its references resolved. The same one for all nodes that it means the same for.
    pub leak: Arc<Leak>,
    /// The `metadata.generation` of its object.
    pub generation: i64,
}

/// Two leaks that can't both be in force on a node; the earlier one is. Or two services of one leak, of which the
/// earlier one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// In force.
    pub earlier: LeakName,
    /// Left out.
    pub later: LeakName,
    /// Why.
    pub error: SetError,
}

/// What keeps `later` from being in force beside each of `placed`.
pub(super) fn conflicts<'a>(placed: impl Iterator<Item = &'a Leak>, later: &Leak) -> Vec<Conflict> {
    placed
        .filter_map(|earlier| {
            Some(Conflict {
                earlier: earlier.name.clone(),
                later: later.name.clone(),
                error: first_conflict(earlier, later)?,
            })
        })
        .collect()
}
