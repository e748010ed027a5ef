//! A client on this very host, whose socket is bound to the VRF, as `ip vrf exec` has it. What it sends to an address of
//! its VRF comes back through the VRF; what it sends to another address of this host comes back past it.

use super::{
    Answer, Facts, Question, RouteKind,
    facts::Vrf,
    judge::{Case, End, Sees, Stage, Steps, Verdict},
};

impl Facts {
    /// The way in of what such a client sends: none of the devices has to be up but the VRF's.
    pub(super) fn local_client<'a>(
        &'a self,
        question: &'a Question,
        vrf: Vrf<'a>,
        steps: &mut Steps,
    ) -> Case<'a> {
        let name = &vrf.link.name;
        let table = vrf.table;
        steps.found(
            Stage::Device,
            format!(
                "sent by a process of this host whose socket is bound to VRF {name} (table {table})"
            ),
        );
        let inside = |device: &u32| self.is_inside(*device, vrf.link.ifindex);
        let addresses = self.node.addresses.iter();
        let asked = addresses.filter(|local| local.address == question.to.ip());
        Case {
            facts: self,
            question,
            vrf,
            // The device that has the address is the one that a socket must be bound to, if it isn't to the VRF.
            slave: asked.map(|local| local.ifindex).find(inside),
        }
    }
}

impl Case<'_> {
    /// The device that has the address which is asked, where the packet comes to it past the VRF.
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

    /// What comes past the VRF is none of the gate's business, and its answer is none of the client's.
    pub(super) fn answer_past_vrf(&self, steps: &mut Steps) -> End {
        let asked = self.question.to.ip();
        steps.found(
            Stage::Reply,
            format!(
                "the answer comes past VRF {0} too, and the client's socket hears VRF {0} alone",
                self.vrf_name()
            ),
        );
        End {
            verdict: Verdict::ReplyLost,
            sees: Sees::Silence,
            advice: format!("ask {asked} by a socket that is bound to no device"),
        }
    }
}
