//! Gives a namespace back as it was before vrfgate: routes and reply steering go, then the gate and with it
//! what it did to the sysctls, then what was written down.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};
use vrfgate_ebpf::{Error, Gate, Netns, SharedPorts, Store};

use crate::{
    agent,
    node::{Report, Watcher, ask_to_hand_over},
};

/// How long whoever offers a gate may take to let go of it, and how often it is looked for.
const HANDING_OVER: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
/// When another process looks after the namespace; when TCP ports are shared that must not be when
/// `tcp_l3mdev_accept` changes, unless that is accepted (in both cases, what was in force stays in force); and when the
/// kernel refuses a step. The steps that are left can be tried again.
pub async fn clear(
    store: &Store,
    netns: &Netns,
    shared_ports: SharedPorts,
) -> anyhow::Result<Cleared> {
    // Whoever looks after the namespace would make everything anew: nothing is removed before it is ours.
    let mut gate = match open(store, netns).await {
        // Nothing in force, but values to give back; or a gate whose rules can't be read, and need not be.
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
    agent::forget(store, netns)
        .with_context(|| format!("removing what the agent of {netns} was asked for"))?;
    Ok(Cleared {
        gate,
        routes,
        steering,
    })
}

/// The gate, for which whoever offers it is asked.
async fn open(store: &Store, netns: &Netns) -> Result<Option<Gate>, Error> {
    let end = Instant::now() + HANDING_OVER;
    let mut asked = false;
    loop {
        match Gate::open(store, netns.clone()) {
            Err(Error::Busy { .. }) if Instant::now() < end => {
                asked = asked || ask_to_hand_over(store, netns).unwrap_or(false);
                if !asked {
                    return Gate::open(store, netns.clone());
                }
                sleep(LOOK_EVERY).await;
            }
            result => return result,
        }
    }
}
