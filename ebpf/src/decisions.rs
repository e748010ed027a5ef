//! The gate's decisions as it reports them, for an observer: no lock is taken and nothing is changed, so this works
//! beside the process that manages the gate.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use aya::maps::MapError;
use nix::time::{ClockId, clock_gettime};
use vrfgate_abi::{Event, NO_RULE, REFUSED, WOULD_REFUSE};
use vrfgate_core::Protocol;

use crate::{
    Error, Netns, Store, attached::Attached, error::map_error, events::Events,
    remains::record_or_lost, slots::Slots,
};

/// What the gate reported of one look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub time: SystemTime,
    /// Name of the VRF; `#` and its ifindex when the gate no longer knows it.
    pub vrf: String,
    /// The rule that lists the port, but not for this client.
    pub rule: Option<String>,
    /// What was to be carried.
    pub protocol: Protocol,
    /// The client.
    pub from: SocketAddr,
    /// What it wanted.
    pub to: SocketAddr,
    /// Whether it was refused; else an audited VRF let it in.
    pub refused: bool,
}

/// The decisions of one namespace's gate. Each goes to one reader only.
pub struct Decisions {
    store: Store,
    netns: Netns,
    events: Events,
}

/// Decisions returned at a time.
const BATCH: usize = 4096;

impl Decisions {
    /// Observes from now on. `None` when the namespace has no gate.
    pub fn open(store: &Store, netns: &Netns) -> Result<Option<Self>, Error> {
        let pins = store.pins(netns.id());
        if Attached::open(&pins, netns)?.is_none() {
            return Ok(None);
        }
        let events = Events::open(&pins).map_err(|cause| reading(netns, cause))?;
        Ok(Some(Self {
            store: store.clone(),
            netns: netns.clone(),
            events,
        }))
    }

    /// Decisions since the last call, oldest first. Switches to a gate that has replaced the one before; while
    /// there is none, nothing is decided.
    pub fn take(&mut self) -> Result<Vec<Decision>, Error> {
        let mut events: Vec<Event> = self.events.by_ref().take(BATCH).collect();
        let pins = self.store.pins(self.netns.id());
        if let Ok(now) = Events::open(&pins)
            && !now.is_same(&self.events)
        {
            self.events = now;
            events.extend(self.events.by_ref().take(BATCH));
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.names()?;
        Ok(events
            .iter()
            .filter_map(|event| names.decision(event))
            .collect())
    }

    /// Read for every batch: a number may have got another owner since the last.
    fn names(&self) -> Result<Names, Error> {
        let vrfs = match Attached::open(&self.store.pins(self.netns.id()), &self.netns) {
            Ok(Some(attached)) => attached
                .maps
                .vrf_slots()
                .map_err(|cause| reading(&self.netns, cause))?,
            // Decisions of a gate that is gone are shown with numbers.
            Ok(None) | Err(_) => Vec::new(),
        };
        Ok(Names {
            vrfs,
            slots: record_or_lost(&self.store, &self.netns)?.slots,
            since_boot: Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(
                |errno| Error::Io {
                    doing: "reading the clock".to_owned(),
                    cause: errno.into(),
                },
            )?),
            now: SystemTime::now(),
        })
    }
}

fn reading(netns: &Netns, cause: MapError) -> Error {
    map_error("reading the events of", netns, cause)
}

/// What numbers mean at one moment.
struct Names {
    /// Counter slots by ifindex.
    vrfs: Vec<(u32, u32)>,
    slots: Slots,
    since_boot: Duration,
    now: SystemTime,
}

impl Names {
    fn decision(&self, event: &Event) -> Option<Decision> {
        let Event {
            time_ns,
            vrf,
            rule,
            remote,
            local,
            remote_port,
            local_port,
            protocol,
            verdict,
            padding: _,
        } = *event;
        let age = self
            .since_boot
            .saturating_sub(Duration::from_nanos(time_ns));
        let slot = self.vrfs.iter().find(|(ifindex, _)| *ifindex == vrf);
        Some(Decision {
            time: self.now.checked_sub(age)?,
            vrf: slot.map_or_else(|| format!("#{vrf}"), |(_, slot)| self.slots.vrf_name(*slot)),
            rule: (rule != NO_RULE).then(|| self.slots.rule_name(rule)),
            protocol: Protocol::from_number(protocol)?,
            from: SocketAddr::new(canonical(remote), remote_port),
            to: SocketAddr::new(canonical(local), local_port),
            refused: match verdict {
                REFUSED => true,
                WOULD_REFUSE => false,
                _ => return None,
            },
        })
    }
}

fn canonical(address: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}
