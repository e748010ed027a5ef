//! A client on this host whose socket is bound to the VRF, as with `ip vrf exec`. Its packets to an address of the VRF
//! come back through the VRF; its packets to another address of this host bypass the VRF.

use super::{
    case::{Case, End, Steps},
    explanation::{Sees, Stage, Verdict},
};
use crate::facts::{Facts, Question, Vrf};

impl Facts {
    /// The way in of such a client's packets. No device has to be up but the VRF.
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
            // Of sockets that are bound to a slave, only those on the device that has the address hear the packet.
            slave: asked.map(|local| local.ifindex).find(inside),
        }
    }
}

impl Case<'_> {
    /// The gate doesn't decide on packets that bypass the VRF, and the client doesn't hear the reply.
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
