//! Gives a namespace back as it was before vrfgate: routes and reply steering go, then the gate and with it
//! what it did to the sysctls, then what was written down.

use anyhow::Context as _;
use vrfgate_ebpf::{Error, Gate, Netns, Store};

use crate::{
    agent,
    node::{Report, Watcher},
};

/// What there was to be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// A gate, or what is left of one.
    pub gate: bool,
    /// Routes.
    pub routes: usize,
    /// Marks and policy rules of reply steering.
    pub steering: bool,
}

impl Cleared {
    /// Whether there was anything at all.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Gives the namespace back. Must be called within a Tokio runtime.
///
/// # Errors
///
/// When another process looks after the namespace, and when the kernel refuses a step; the steps that are
/// left can be tried again.
pub async fn clear(store: &Store, netns: &Netns) -> anyhow::Result<Cleared> {
    // Whoever looks after the namespace would make everything anew: nothing is removed before it is ours.
    let gate = match Gate::open(store, netns.clone()) {
        // Nothing in force, but values to give back; or a gate whose rules can't be read, and need not be.
        Err(Error::NotInForce { .. } | Error::OldLayout { .. }) => None,
        found => found?,
    };
    let watcher = Watcher::new(netns)?;
    let routes = watcher.clear_routes().await?;
    let steering = watcher.clear_steering().await?;
    let gate = match gate {
        Some(gate) => gate.detach().map(|()| true)?,
        None => Gate::clean_up(store, netns)?,
    };
    Report::remove(store, netns).with_context(|| format!("removing the report of {netns}"))?;
    agent::forget(store, netns)
        .with_context(|| format!("removing what the agent of {netns} was asked for"))?;
    Ok(Cleared {
        gate,
        routes,
        steering,
    })
}
