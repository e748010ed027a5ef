//! A packet on its way through the stages, and what they say of it.

use vrfgate_core::{OpenSocket, Protocol};

use super::{
    explanation::{Explanation, Sees, Stage, Step, Verdict},
    sockets::{Lookup, describe},
};
use crate::facts::{Answer, Facts, Question, RouteFact, RouteKind, Vrf};

/// How the walk ends.
pub(super) struct End {
    pub(super) verdict: Verdict,
    pub(super) sees: Sees,
    pub(super) advice: String,
}

/// A packet whose VRF is known.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts,
    pub(super) question: &'a Question,
    pub(super) vrf: Vrf<'a>,
    /// The slave it comes in by, if that is known.
    pub(super) slave: Option<u32>,
}

impl Case<'_> {
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            facts: self.facts,
            question: self.question,
            vrf: self.vrf.link.ifindex,
            slave: self.slave,
            past_vrf: self.past_vrf(),
        }
    }

    pub(super) fn vrf_name(&self) -> &str {
        &self.vrf.link.name
    }

    pub(super) fn describe(&self, socket: &OpenSocket) -> String {
        describe(self.facts, socket)
    }

    /// The service as an entry of a leak.
    pub(super) fn listing(&self) -> String {
        format!(
            "{} port {} of {}",
            self.question.protocol,
            self.question.to.port(),
            self.question.to.ip()
        )
    }

    /// The device that has the destination address, where the packet bypasses the VRF.
    pub(super) fn past_vrf(&self) -> Option<u32> {
        match &self.facts.arrival {
            Some(Answer::Route(route)) if self.vrf.local_client => {
                let past =
                    route.kind == RouteKind::Local && route.device != Some(self.vrf.link.ifindex);
                let holder = || self.facts.holder(self.question.to.ip()).or(route.device);
                past.then(holder).flatten()
            }
            _ => None,
        }
    }

    /// Why a leak of this VRF, which may list the service, is not in force.
    pub(super) fn leaks_that_failed(&self) -> Option<String> {
        let (leak, why) = self.facts.failed.first()?;
        Some(format!(
            "leak {leak} of VRF {} is not in force: it {why}",
            self.vrf_name()
        ))
    }

    /// Whether a route leads into the VRF.
    pub(super) fn leads_back(&self, route: &RouteFact) -> bool {
        route
            .device
            .is_some_and(|device| self.facts.is_inside(device, self.vrf.link.ifindex))
    }

    /// Whether the kernel's answer is a route that leads into the VRF.
    pub(super) fn leads_on(&self, answer: Option<&Answer>) -> bool {
        matches!(answer, Some(Answer::Route(route)) if self.leads_back(route))
    }

    /// The device that the kernel shows the gate.
    pub(super) fn ingress(&self) -> u32 {
        match (self.past_vrf(), &self.facts.arrival) {
            (Some(holder), Some(Answer::Route(route))) => route.device.unwrap_or(holder),
            _ => self.vrf.link.ifindex,
        }
    }

    /// How to leak an address of this host.
    pub(super) fn leak(&self, instead_of: Option<&RouteFact>) -> String {
        let address = self.question.to.ip();
        let device = self
            .facts
            .holder(address)
            .map_or_else(|| "lo".to_owned(), |device| self.facts.device_text(device));
        // There can't be another route for the very address.
        let verb = match instead_of.and_then(|route| route.prefix) {
            Some(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => "replace",
            _ => "add",
        };
        format!(
            "list its prefix under `routes` of a VrfLeak for {vrf}, or: ip route {verb} local {address} dev \
             {device} table {table}",
            vrf = self.vrf_name(),
            table = self.vrf.table
        )
    }
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    pub(super) fn found(&mut self, stage: Stage, finding: impl Into<String>) {
        self.0.push(Step {
            stage,
            finding: finding.into(),
        });
    }

    pub(super) fn ended(self, end: End) -> Explanation {
        let Self(steps) = self;
        let End {
            verdict,
            sees,
            advice,
        } = end;
        Explanation {
            steps,
            verdict,
            client_sees: sees,
            advice,
        }
    }
}

/// Name of the protocol's sysctl.
pub(super) const fn sysctl(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp_l3mdev_accept",
        Protocol::Udp => "udp_l3mdev_accept",
    }
}

/// The other protocol, in case the two were mixed up.
pub(super) const fn other(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Tcp => Protocol::Udp,
        Protocol::Udp => Protocol::Tcp,
    }
}
