//! A gate that is there though nothing is asked for: it opens nothing.

use tracing::info;
use vrfgate_ebpf::{Error, Gate, Netns, Store};

use super::Agent;
use crate::node::Keeper;

impl Agent {
    /// Why the gate is not taken away though nothing is asked for.
    pub(super) fn why_it_stays(&self, store: &Store, netns: &Netns) -> Option<String> {
        let prepared = "it was put in before everything else (`vrfgate run --prepare`), and stays until `vrfgate clear`";
        if let Some(keeper) = &self.keeper {
            if keeper.is_prepared() {
                return Some(prepared.to_owned());
            }
            return match keeper.may_give_back() {
                Err(error @ Error::PortShared { .. }) => Some(error.to_string()),
                // What else is wrong shows when it is taken away.
                _ => None,
            };
        }
        let gate = Gate::inspect(store, netns).ok().flatten()?;
        gate.prepared.then(|| prepared.to_owned())
    }

    /// Keeps a gate that opens nothing: with it in force, a node is as closed as it was without.
    pub(super) async fn keep_shut(&mut self, store: &Store, netns: &Netns, why: String) {
        if let Some(keeper) = &mut self.keeper {
            let report = keeper.report();
            if self.stays.is_none() || !report.leaks.is_empty() || !report.errors.is_empty() {
                keeper.put_in_force(Vec::new()).await;
            }
        } else {
            match Keeper::start(store, netns.clone(), Vec::new(), self.settings).await {
                Ok(keeper) => self.keeper = Some(keeper),
                Err(error) => {
                    self.note_trouble(error.to_string());
                    return;
                }
            }
        }
        if self.stays.as_ref() != Some(&why) {
            info!("nothing is asked for; the gate of {netns} opens nothing, and stays: {why}");
        }
        self.stays = Some(why);
        self.left = None;
        self.trouble = None;
    }
}
