//! A gate that stays attached though no leak applies to the node: it opens nothing.

use tracing::info;
use vrfgate_ebpf::{Error, Gate, Netns, Store};

use super::host::Agent;
use crate::node::Keeper;

impl Agent {
    /// Why the gate is not removed though no leak applies to the node.
    pub(super) fn why_it_stays(&self, store: &Store, netns: &Netns) -> Option<String> {
        let prepared = "it was put in before everything else (`vrfgate run --prepare`), and stays until `vrfgate clear`";
        if let Some(keeper) = &self.keeper {
            if keeper.is_prepared() {
                return Some(prepared.to_owned());
            }
            return match keeper.may_restore() {
                Err(error @ Error::PortShared { .. }) => Some(error.to_string()),
                // Any other error shows when the gate is removed.
                _ => None,
            };
        }
        let gate = Gate::inspect(store, netns).ok().flatten()?;
        gate.prepared.then(|| prepared.to_owned())
    }

    /// Keeps a gate that opens nothing, with which a node is as closed as it was without one.
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
