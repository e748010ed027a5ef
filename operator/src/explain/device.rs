//! The way in: the VRF, its slaves, and which of them the packet comes in by.

use vrfgate_core::{Link, LinkKind};

use super::{
    case::{Case, End, Steps},
    explanation::{Sees, Stage, Verdict},
};
use crate::facts::{Answer, Facts, Question, Vrf};

impl Facts {
    /// The VRF, if packets can come in through it.
    pub(super) fn device<'a>(
        &'a self,
        question: &'a Question,
        steps: &mut Steps,
    ) -> Result<Case<'a>, End> {
        let name = question.vrf.as_str();
        let end = |verdict, advice| End {
            verdict,
            sees: Sees::Silence,
            advice,
        };
        let Some(link) = self.node.links.iter().find(|link| link.name == name) else {
            steps.found(Stage::Device, format!("there is no device {name}"));
            return Err(end(Verdict::NoSuchVrf, self.vrfs_there_are()));
        };
        let table = match link.kind {
            LinkKind::Vrf { table: Some(table) } => table,
            LinkKind::Vrf { table: None } => {
                steps.found(
                    Stage::Device,
                    format!("the kernel doesn't say which routing table VRF {name} has"),
                );
                let advice = format!("compare with `ip -d link show {name}`, and ask again");
                return Err(end(Verdict::TableUnknown, advice));
            }
            LinkKind::Other => {
                steps.found(Stage::Device, format!("{name} is a device, and no VRF"));
                let advice = match self.vrf_of(link.ifindex) {
                    Some(vrf) => {
                        format!("{name} is a slave of VRF {0}: ask with --vrf {0}", vrf.name)
                    }
                    None => self.vrfs_there_are(),
                };
                return Err(end(Verdict::NotAVrf, advice));
            }
        };
        let down = |ifindex: u32| self.down.contains(&ifindex);
        let local_client = self.node.is_own(question.from, link.ifindex);
        if local_client && !down(link.ifindex) {
            return Ok(self.local_client(
                question,
                Vrf {
                    link,
                    table,
                    local_client,
                },
                steps,
            ));
        }
        let slaves: Vec<_> = self.slaves(link.ifindex).collect();
        if slaves.is_empty() {
            steps.found(Stage::Device, format!("VRF {name} has no slave"));
            return Err(end(
                Verdict::NoInterface,
                format!(
                    "no packet can come in: put an interface into the VRF (ip link set DEVICE master {name})"
                ),
            ));
        }
        let names = |wanted: &[&Link]| {
            let names: Vec<&str> = wanted.iter().map(|link| link.name.as_str()).collect();
            names.join(", ")
        };
        if slaves.iter().all(|slave| down(slave.ifindex)) {
            let names = names(&slaves);
            steps.found(
                Stage::Device,
                format!("VRF {name}: {names} down, or without a carrier"),
            );
            return Err(end(
                Verdict::InterfaceDown,
                format!(
                    "no packet comes in: bring it up (ip link set {names} up) or see to its other end"
                ),
            ));
        }
        if down(link.ifindex) {
            steps.found(Stage::Device, format!("VRF {name} is down"));
            return Err(end(
                Verdict::InterfaceDown,
                format!("bring the VRF up (ip link set {name} up)"),
            ));
        }
        let slave = self.slave_towards_client(link.ifindex);
        let way_in = slave.map_or_else(
            || format!("one of {}", names(&slaves)),
            |slave| self.device_text(slave),
        );
        steps.found(
            Stage::Device,
            format!("in through {way_in}, a slave of VRF {name} (table {table})"),
        );
        Ok(Case {
            facts: self,
            question,
            vrf: Vrf {
                link,
                table,
                local_client,
            },
            slave,
        })
    }

    fn vrfs_there_are(&self) -> String {
        let vrfs: Vec<&str> = self
            .node
            .links
            .iter()
            .filter(|link| matches!(link.kind, LinkKind::Vrf { .. }))
            .map(|link| link.name.as_str())
            .collect();
        if vrfs.is_empty() {
            "there is no VRF here; make one (ip link add NAME type vrf table 10)".to_owned()
        } else {
            format!("the VRFs here are {}", vrfs.join(", "))
        }
    }

    /// The slave that the client's packets come in by: the one that leads to the client, or the only one.
    fn slave_towards_client(&self, vrf: u32) -> Option<u32> {
        let towards = match (&self.replies.vrf_from, &self.replies.vrf) {
            (Some(Answer::Route(route)), _) | (_, Some(Answer::Route(route))) => route.device,
            _ => None,
        };
        towards
            .filter(|device| self.slaves(vrf).any(|slave| slave.ifindex == *device))
            .or_else(|| {
                let mut slaves = self.slaves(vrf);
                let only = slaves.next()?;
                slaves.next().is_none().then_some(only.ifindex)
            })
    }
}
