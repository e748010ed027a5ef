//! The switch that may crash the kernel: `tcp_l3mdev_accept` changes here, or in an emergency, and nowhere else.

use std::time::{Duration, Instant};

use super::Gate;
use crate::{
    Error, L3mdevAccept, Netns, SharedPort, SharedPorts,
    error::Doing,
    ports::{self, BoundUnder, Holders},
};

/// How often a switch is retried that shared ports prevented: listing sockets takes longer than the other checks of
/// [`Gate::keep`].
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How often ports are polled while a socket from before the switch may come to share its port.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The same while there is none: then only harmless sharing is recorded.
const POLL_SELDOM: Duration = Duration::from_secs(5);

/// What a gate knows of TCP ports that are shared.
#[derive(Default)]
pub(super) struct Ports {
    /// What to do when they are in the way.
    policy: SharedPorts,
    /// Why the sysctl could not be switched last, and when that was.
    in_the_way: Option<(Vec<SharedPort>, Instant)>,
    /// What a socket from before the switch shares with one that came after it, as of the last poll.
    later: Vec<SharedPort>,
    polled: Option<Instant>,
}

impl Ports {
    pub(super) fn new(policy: SharedPorts) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    pub(super) fn policy(&self) -> SharedPorts {
        self.policy
    }

    /// Whether the sysctl could not be switched last.
    pub(super) fn are_in_the_way(&self) -> bool {
        self.in_the_way.is_some()
    }
}

/// Checks that the TCP sysctl may change to its new value. Returns who holds ports, when it will change on a kernel that
/// may crash of it.
pub(super) fn check(
    netns: &Netns,
    to: L3mdevAccept,
    known: &BoundUnder,
    policy: SharedPorts,
) -> Result<Option<Holders>, Error> {
    let now = L3mdevAccept::read(netns)
        .doing(|| format!("reading the l3mdev_accept sysctls of {netns}"))?;
    match (now.tcp, to.tcp) {
        (Some(now), Some(to)) if now != to => ports::check(netns, to, known, policy),
        _ => Ok(None),
    }
}

/// Restores the former values of a namespace's sysctls.
pub(super) fn restore(
    netns: &Netns,
    former: L3mdevAccept,
    known: &BoundUnder,
    policy: SharedPorts,
) -> Result<(), Error> {
    check(netns, former, known, policy)?;
    former
        .write(netns)
        .doing(|| format!("restoring the l3mdev_accept sysctls of {netns}"))
}

impl Gate {
    /// What to do from now on when `tcp_l3mdev_accept` is to change while TCP ports are shared.
    pub fn on_shared_ports(&mut self, policy: SharedPorts) {
        self.ports.policy = policy;
    }

    /// Ports that have come to be shared since the sysctl was switched, and are dangerous: one socket was bound to a
    /// VRF before, and another came after it. As of the last [`Gate::keep`], which polls every second while there are
    /// sockets from before.
    #[must_use]
    pub fn later_shared_ports(&self) -> &[SharedPort] {
        &self.ports.later
    }

    /// Whether [`Gate::detach`] would be refused: [`Error::PortShared`]. Changes nothing.
    pub fn may_detach(&self) -> Result<(), Error> {
        let Self {
            netns,
            record,
            ports,
            ..
        } = self;
        check(netns, record.former, &record.bound_under, ports.policy).map(drop)
    }

    /// Writes `self.sysctls`, unless shared ports are in the way. Records first which sockets are bound at that moment.
    pub(super) fn write_sysctls(&mut self) -> Result<(), Error> {
        let (to, policy) = (self.sysctls, self.ports.policy);
        let checked = check(&self.netns, to, &self.record.bound_under, policy);
        let holders = match checked {
            Err(Error::PortShared {
                netns,
                value,
                shared,
            }) => {
                self.ports.in_the_way = Some((shared.clone(), Instant::now()));
                return Err(Error::PortShared {
                    netns,
                    value,
                    shared,
                });
            }
            checked => checked?,
        };
        if let Some(holders) = holders
            && to.tcp == Some(true)
        {
            holders.note_before(&mut self.record.bound_under);
            self.save_record()?;
        }
        to.write(&self.netns)
            .doing(|| format!("setting the l3mdev_accept sysctls of {}", self.netns))?;
        self.ports.in_the_way = None;
        Ok(())
    }

    /// As [`Gate::write_sysctls`], for frequent calls: ports that were in the way a moment ago count as still there.
    pub(super) fn write_sysctls_again(&mut self) -> Result<(), Error> {
        match &self.ports.in_the_way {
            Some((shared, since)) if since.elapsed() < RETRY_EVERY => Err(Error::PortShared {
                netns: self.netns.to_string(),
                value: u8::from(self.sysctls.tcp == Some(true)),
                shared: shared.clone(),
            }),
            _ => self.write_sysctls(),
        }
    }

    /// Polls shared ports when that is due.
    pub(super) fn poll_ports(&mut self) -> Result<(), Error> {
        if !ports::kernel_is_concerned() || self.ports.are_in_the_way() {
            return Ok(());
        }
        let pause = if self.record.bound_under.any_before() {
            POLL_EVERY
        } else {
            POLL_SELDOM
        };
        if self
            .ports
            .polled
            .is_some_and(|polled| polled.elapsed() < pause)
        {
            return Ok(());
        }
        self.ports.polled = Some(Instant::now());
        let mut known = self.record.bound_under.clone();
        self.ports.later = Holders::of(&self.netns)?.poll(&mut known);
        if known != self.record.bound_under {
            self.record.bound_under = known;
            self.save_record()?;
        }
        Ok(())
    }
}
