//! Restores a namespace as it was before vrfgate: routes and reply steering first, then the gate and the sysctls, then
//! the files beside the record.

use anyhow::Context as _;
use vrfgate_ebpf::{Error, Gate, Netns, SharedPorts, Store};

use crate::{
    node::{Report, TakeOver, Watcher},
    saved_spec,
};

/// What was removed.
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

/// Restores the namespace. Must be called within a Tokio runtime.
///
/// # Errors
///
/// When another process keeps the gate of the namespace; when TCP ports are shared that must not be shared while
/// `tcp_l3mdev_accept` changes, unless that is accepted (in both cases, what was in force stays in force); and when the
/// kernel refuses a step. The remaining steps can be tried again.
pub async fn clear(
    store: &Store,
    netns: &Netns,
    shared_ports: SharedPorts,
) -> anyhow::Result<Cleared> {
    // A process that keeps the gate would make everything again: nothing is removed before the gate is ours.
    let mut gate = match open(store, netns).await {
        // Nothing is in force, but sysctls are to be restored; or the gate has rules that need not be read.
        Err(Error::NotInForce { .. } | Error::OldLayout { .. }) => None,
        found => found?,
    };
    if let Some(gate) = &mut gate {
        gate.on_shared_ports(shared_ports);
        gate.may_detach()?;
    } else {
        Gate::may_clean_up(store, netns, shared_ports)?;
    }
    let watcher = Watcher::new(netns)?;
    let routes = watcher.clear_routes().await?;
    let steering = watcher.clear_steering().await?;
    let gate = match gate {
        Some(gate) => gate.detach().map(|()| true)?,
        None => Gate::clean_up(store, netns, shared_ports)?,
    };
    Report::remove(store, netns).with_context(|| format!("removing the report of {netns}"))?;
    saved_spec::remove(store, netns)
        .with_context(|| format!("removing what the agent of {netns} was asked for"))?;
    Ok(Cleared {
        gate,
        routes,
        steering,
    })
}

/// The gate; a process that offers it is asked to release it.
async fn open(store: &Store, netns: &Netns) -> Result<Option<Gate>, Error> {
    let mut take_over = TakeOver::begin();
    loop {
        let result = Gate::open(store, netns.clone());
        let busy = matches!(result, Err(Error::Busy { .. }));
        if !busy || !take_over.again(store, netns).await {
            return result;
        }
    }
}
