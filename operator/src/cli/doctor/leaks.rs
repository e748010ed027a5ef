//! What leaks would do here, shown in advance.

use std::path::PathBuf;

use anyhow::Context as _;
use vrfgate_core::{Desired, GatedVrf, Leak, NodeFacts, OpenService, Posture, Protocol, compile};
use vrfgate_ebpf::{Gate, GateStatus, L3mdevAccept, Netns, Store};

use super::Finding;
use crate::{
    facts::Access,
    leak_files::LeakFiles,
    node::{LeakState, Refused, Report, RouteOutcome, Watcher, closings, why_open, would_admit},
};

pub(super) fn foretell(
    store: &Store,
    netns: &Netns,
    files: &[PathBuf],
) -> anyhow::Result<Vec<Finding>> {
    let leaks = match LeakFiles::new(files.to_vec()).read() {
        Ok(leaks) => leaks,
        Err(mistakes) => return Ok(mistakes.into_iter().map(Finding::Mistake).collect()),
    };
    // A gate that can't be read has already been reported.
    let gate = Gate::inspect(store, netns).unwrap_or_default();
    let now = L3mdevAccept::read(netns)
        .with_context(|| format!("reading the l3mdev_accept sysctls of {netns}"))?;
    super::super::block_on(async {
        let watcher = Watcher::new(netns)?;
        let facts = watcher.facts().await?;
        let (admitted, refused) = would_admit(&leaks, &facts);
        let desired = compile(&admitted, &facts);
        let host = Host {
            now,
            former: gate.as_ref().map_or(now, |gate| gate.sysctls.former),
            gate: gate.as_ref(),
        };
        let mut findings = in_force(&leaks, &refused, &desired, &facts);
        for vrf in &desired.vrfs {
            let before = host.access(vrf);
            if vrf.posture == Posture::AsBefore {
                findings.extend(host.left_alone(vrf));
                continue;
            }
            let after = Access::asked_for(vrf, host.former, host.udp(&desired));
            findings.extend(opened(vrf, &before, &after));
            let closed = closings(&watcher, netns, &facts, vrf.ifindex, &before, &after).await?;
            let why = host.why_open(vrf);
            findings.extend(closed.iter().map(|closed| {
                Finding::Note(format!("would close to VRF {}, {why}: {closed}", vrf.name))
            }));
        }
        Ok(findings)
    })
}

/// The host as it is.
struct Host<'a> {
    now: L3mdevAccept,
    former: L3mdevAccept,
    gate: Option<&'a GateStatus>,
}

impl Host<'_> {
    /// The VRF in the gate that is in force.
    fn gated(&self, vrf: &GatedVrf) -> Option<&vrfgate_ebpf::VrfStatus> {
        let gate = self.gate?;
        gate.vrfs.iter().find(|gated| gated.ifindex == vrf.ifindex)
    }

    /// What clients of a VRF can reach now.
    fn access(&self, vrf: &GatedVrf) -> Access {
        match self.gated(vrf) {
            Some(gated) => Access::in_force(gated, self.now, self.former),
            // A gate that doesn't know the VRF doesn't refuse anything to it.
            None => Access::ungated(self.now),
        }
    }

    /// Whether UDP sockets would be open to VRFs at all.
    fn udp(&self, desired: &Desired) -> bool {
        let mut services = desired.vrfs.iter().flat_map(|vrf| &vrf.services);
        self.former.udp == Some(true) || services.any(|service| service.protocol == Protocol::Udp)
    }

    fn why_open(&self, vrf: &GatedVrf) -> String {
        match self.gated(vrf).map(|gated| gated.posture) {
            Some(Posture::Enforced) => "which a rule in force opens".to_owned(),
            Some(Posture::Audited) => "which is open because it is audited".to_owned(),
            Some(Posture::AsBefore) => {
                let why = why_open(self.former).unwrap_or_default();
                format!("which is open because {why} before the gate")
            }
            None => {
                let why = why_open(self.now).unwrap_or_default();
                format!(
                    "which is open because {}",
                    why.replace("was", "is").replace("were", "are")
                )
            }
        }
    }

    /// A VRF that no leak names goes on as it was before the gate.
    fn left_alone(&self, vrf: &GatedVrf) -> Option<Finding> {
        let why = why_open(self.former)?;
        let name = &vrf.name;
        Some(Finding::Note(format!(
            "no leak names VRF {name}: unbound listeners stay open to it, because {why} before the gate"
        )))
    }
}

/// Each leak, and the routes that would be there.
fn in_force(
    leaks: &[Leak],
    refused: &[Refused],
    desired: &Desired,
    facts: &NodeFacts,
) -> Vec<Finding> {
    let nothing = RouteOutcome::default();
    let report = Report::new(leaks, refused, desired, &nothing, facts);
    let mut findings = Vec::new();
    for leak in report.leaks {
        let notes = leak
            .notes
            .iter()
            .map(|note| Finding::Note(format!("leak {} {note}", leak.name)));
        if leak.state == LeakState::InForce {
            let (name, vrf) = (&leak.name, &leak.vrf);
            findings.push(Finding::Good(format!(
                "leak {name} would be in force in VRF {vrf}"
            )));
        }
        findings.extend(notes);
    }
    let routes = report.routes.iter();
    findings.extend(routes.map(|route| {
        Finding::Good(format!(
            "leak {} asks for the route `{}`",
            route.leak, route.route
        ))
    }));
    findings
}

/// What isn't open now, service by service.
fn opened(vrf: &GatedVrf, before: &Access, after: &Access) -> Vec<Finding> {
    if let (Access::All { tcp: true, .. }, false) =
        (after, matches!(before, Access::All { tcp: true, .. }))
    {
        return vec![Finding::Note(format!(
            "would open every unbound listener to VRF {}, which is to be audited",
            vrf.name
        ))];
    }
    let services = vrf.services.iter();
    services
        .filter_map(|service| opened_by(vrf, service, before))
        .collect()
}

fn opened_by(vrf: &GatedVrf, service: &OpenService, before: &Access) -> Option<Finding> {
    let (protocol, ports) = (service.protocol, service.ports);
    let places = service
        .addresses
        .iter()
        .filter(|address| !before.admits(protocol, **address, ports))
        .map(ToString::to_string);
    let prefixes = service
        .prefixes
        .iter()
        .filter(|prefix| !before.admits(protocol, prefix.network(), ports))
        .map(ToString::to_string);
    let places: Vec<String> = places.chain(prefixes).collect();
    if places.is_empty() {
        return None;
    }
    let clients = if service.sources.is_empty() {
        String::new()
    } else {
        let sources: Vec<String> = service.sources.iter().map(ToString::to_string).collect();
        format!(" from {}", sources.join(", "))
    };
    Some(Finding::Note(format!(
        "would open to VRF {}: {}/{protocol} on {}{clients} (service {} of leak {})",
        vrf.name,
        service.ports,
        places.join(", "),
        service.service,
        service.leak
    )))
}
