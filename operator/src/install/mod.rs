//! Living on a node: the CNI plugin in the directory of plugins, and our entry in the configuration list of a
//! network.
//!
//! Both directories are shared with the primary CNI plugin and with whoever else is on the node. What isn't ours is
//! never changed; what is ours is recognised by what it is, not by who has written it: the plugin by the version in
//! its bytes, the entry by its key `managedBy`. Knows nothing of Kubernetes.

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

/// What shall be on a node.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The plugin.
    pub binary: Binary,
    /// Where configuration lists are.
    pub lists: PathBuf,
    /// Its entry in a network's list. Without it, who configures networks writes entries.
    pub chain: Option<Chain>,
}

/// How a part of it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it shall be; which is this.
    InPlace(String),
    /// Not as it shall be, and it was not allowed to be changed.
    Missing,
    /// It was made so, by this.
    Written(String),
}

impl Wanted {
    /// Puts everything in its place, and tells what was done.
    ///
    /// # Errors
    ///
    /// When one can't be. What was put in its place before that stays.
    pub fn install(&self) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
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
                Outcome::InPlace(what) | Outcome::Written(what) => said.push(what),
                Outcome::Missing => {}
            }
        }
        Ok(said)
    }

    /// Takes it away again, and tells what was done.
    ///
    /// # Errors
    ///
    /// As [`uninstall`].
    pub fn uninstall(&self, store: &Store) -> anyhow::Result<Vec<String>> {
        let network = self.chain.as_ref().map(|chain| chain.network.as_str());
        uninstall(&self.binary.directory, &self.lists, network, store, false)
    }
}

/// Takes away what is ours: the entries in the lists of a directory, or only those of one `network`. Once nothing needs the
/// plugin, it is put out of use, or removed if it shall be `for_good`. Tells what was done.
///
/// # Errors
///
/// When something can't be taken away.
pub fn uninstall(
    binaries: &Path,
    lists: &Path,
    network: Option<&str>,
    store: &Store,
    for_good: bool,
) -> anyhow::Result<Vec<String>> {
    // The entries first: one without the plugin keeps pods from starting, and from ending.
    let mut said = chain::take_out(lists, network)?;
    if let Some(user) = chain::user(lists)? {
        said.push(format!(
            "the plugin stays in {}: {} asks for it",
            binaries.display(),
            user.display()
        ));
        return Ok(said);
    }
    let attachments = Attachments::of(store);
    let attached = attachments
        .keys()
        .with_context(|| format!("reading {}", attachments.directory().display()))?
        .len();
    if attached > 0 {
        said.push(format!(
            "the plugin stays in {}: {attached} interfaces of pods need it when they go; do this again then",
            binaries.display()
        ));
        return Ok(said);
    }
    said.extend(binary::uninstall(binaries, for_good)?);
    Ok(said)
}
