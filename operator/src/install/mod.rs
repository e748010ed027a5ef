//! Installs the CNI plugin in the directory of plugins, and our entry in the configuration list of a network.
//!
//! The node shares both directories between the primary CNI plugin and others. Nothing but our own files and entries is
//! changed; these are recognised by their content: the plugin by the version in its bytes, the entry by its key
//! `managedBy`. Knows nothing of Kubernetes.

mod binary;
mod chain;
mod conflist;
mod entry;
#[cfg(feature = "fuzz")]
#[expect(
    clippy::missing_panics_doc,
    reason = "a promise that is not kept is what a fuzzer looks for"
)]
pub(crate) mod fuzz;
mod keep;
mod pace;
mod place;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use vrfgate_cni::Attachments;
use vrfgate_ebpf::Store;

pub use binary::Binary;
pub use chain::Chain;
pub use entry::{ChainConfig, Entry};
pub use keep::Keeper;

/// What to install on a node.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The plugin.
    pub binary: Binary,
    /// Where configuration lists are.
    pub lists: PathBuf,
    /// Its entry in a network's list. Without it, the authors of networks write the entries.
    pub chain: Option<Chain>,
}

/// The outcome of installing one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In place already; described by the text.
    InPlace(String),
    /// Not in place, and writing was not allowed.
    Missing,
    /// Written; described by the text.
    Written(String),
}

impl Wanted {
    /// Puts everything in its place. Returns a sentence for each step.
    ///
    /// # Errors
    ///
    /// When a part can't be put there. Parts before it stay.
    pub fn install(&self) -> anyhow::Result<Vec<String>> {
        let mut steps = Vec::new();
        // The plugin first: an entry without it keeps pods from starting.
        let outcomes = [
            Some(self.binary.install(true)?),
            self.chain
                .as_ref()
                .map(|chain| chain.put_in(&self.lists, true))
                .transpose()?,
        ];
        for outcome in outcomes.into_iter().flatten() {
            match outcome {
                Outcome::InPlace(what) | Outcome::Written(what) => steps.push(what),
                Outcome::Missing => {}
            }
        }
        Ok(steps)
    }

    /// Removes it again. Returns a sentence for each step.
    ///
    /// # Errors
    ///
    /// As [`uninstall`].
    pub fn uninstall(&self, store: &Store) -> anyhow::Result<Vec<String>> {
        let network = self.chain.as_ref().map(|chain| chain.network.as_str());
        uninstall(&self.binary.directory, &self.lists, network, store, false)
    }
}

/// Removes our entries from the lists of a directory, or only from those of one `network`. Once nothing needs the plugin,
/// it is put out of use, or removed if `for_good`. Returns a sentence for each step.
///
/// # Errors
///
/// When something can't be removed.
pub fn uninstall(
    binaries: &Path,
    lists: &Path,
    network: Option<&str>,
    store: &Store,
    for_good: bool,
) -> anyhow::Result<Vec<String>> {
    // The entries first: one without the plugin keeps pods from starting, and from ending.
    let mut steps = chain::take_out(lists, network)?;
    if let Some(user) = chain::user(lists)? {
        steps.push(format!(
            "the plugin stays in {}: {} asks for it",
            binaries.display(),
            user.display()
        ));
        return Ok(steps);
    }
    let attachments = Attachments::of(store);
    let attached = attachments
        .keys()
        .with_context(|| format!("reading {}", attachments.directory().display()))?
        .len();
    if attached > 0 {
        steps.push(format!(
            "the plugin stays in {}: {attached} interfaces of pods need it when they go; do this again then",
            binaries.display()
        ));
        return Ok(steps);
    }
    steps.extend(binary::uninstall(binaries, for_good)?);
    Ok(steps)
}
