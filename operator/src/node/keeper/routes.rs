//! The keeper's part for leak routes and return routes, and for the policy rule of the local table that leak routes are
//! found by. Repairs come with each reconciliation, which rtnetlink's notifications lead to.

use tracing::{info, warn};
use vrfgate_core::{NodeFacts, WantedRoute};

use super::{
    super::{FactsError, RouteOutcome, Watcher, report::route_text, words::local_rule_moved},
    journal::Journal,
};

/// The routes of a namespace.
pub(super) struct KeptRoutes {
    /// Those that were there after the last reconciliation.
    present: Vec<WantedRoute>,
    /// Preferences of the rules of the local table, of IPv4 and IPv6.
    local_rules: [Option<u32>; 2],
}

impl KeptRoutes {
    pub(super) async fn start(watcher: &Watcher) -> Result<Self, FactsError> {
        Ok(Self {
            present: Vec::new(),
            local_rules: watcher.local_rule_preferences().await?,
        })
    }

    /// Makes and removes routes. The outcome is to be passed to [`KeptRoutes::remember`].
    pub(super) async fn reconcile(
        &self,
        watcher: &mut Watcher,
        wanted: &[WantedRoute],
        facts: &NodeFacts,
    ) -> Result<RouteOutcome, FactsError> {
        let outcome = watcher.reconcile_routes(wanted, facts).await?;
        if outcome.made.len() + outcome.removed > 0 {
            info!(
                "leak routes of {}: {} made, {} removed",
                watcher.netns(),
                outcome.made.len(),
                outcome.removed
            );
        }
        Ok(outcome)
    }

    /// Remembers which routes are there, and reports those that were there before and had to be made again.
    pub(super) fn remember(
        &mut self,
        wanted: Vec<WantedRoute>,
        outcome: &RouteOutcome,
        facts: &NodeFacts,
        journal: &mut Journal,
    ) {
        for route in &wanted {
            if outcome.made.contains(&route.key) && self.present.contains(route) {
                let route = route_text(route, facts);
                journal.note_repair(format!("the route `{route}` had gone; made it again"));
            }
        }
        self.present = wanted;
        self.present
            .retain(|route| !outcome.refused.contains_key(&route.key));
    }

    /// Reports when the policy rule of the local table has moved.
    pub(super) async fn check_local_rules(&mut self, watcher: &Watcher, journal: &mut Journal) {
        let now = match watcher.local_rule_preferences().await {
            Ok(now) => now,
            Err(error) => {
                warn!("{error}");
                return;
            }
        };
        let before = std::mem::replace(&mut self.local_rules, now);
        for (family, (before, now)) in ["IPv4", "IPv6"]
            .into_iter()
            .zip(before.into_iter().zip(now))
        {
            if before != now {
                journal.note_repair(local_rule_moved(family, before, now));
            }
        }
    }
}
