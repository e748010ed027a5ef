//! From the VRF to "delivered here": the route that decides.

use vrfgate_core::LinkKind;

use super::{
    case::{Case, End, Steps},
    explanation::{Sees, Stage, Verdict},
};
use crate::facts::{Answer, NoWay, RouteFact, RouteKind};

impl Case<'_> {
    /// Goes on only when the packet is delivered to this host.
    pub(super) fn route(&self, steps: &mut Steps) -> Result<(), End> {
        match &self.facts.arrival {
            Some(Answer::Route(route)) => {
                self.policy(route.table, steps);
                self.by_route(route, steps)
            }
            Some(Answer::None(no_way)) => Err(self.no_way(no_way, steps)),
            None => Err(self.no_way(&NoWay::NoRoute, steps)),
        }
    }

    fn by_route(&self, route: &RouteFact, steps: &mut Steps) -> Result<(), End> {
        let text = self.facts.route(route);
        let device = route.device.map(|device| self.facts.device_text(device));
        match route.kind {
            RouteKind::Local if self.past_vrf().is_some() => {
                steps.found(
                    Stage::Route,
                    format!(
                        "{text}: delivered to this host, and past VRF {}",
                        self.vrf_name()
                    ),
                );
                Ok(())
            }
            RouteKind::Local => {
                steps.found(Stage::Route, format!("{text}: delivered to this host"));
                Ok(())
            }
            RouteKind::Unicast if self.facts.holder(self.question.to.ip()).is_some() => {
                steps.found(
                    Stage::Route,
                    format!(
                        "{text}: {} is an address of this host, and this route sends it out all the same",
                        self.question.to.ip()
                    ),
                );
                Err(self.not_delivered(route, device.as_deref()))
            }
            RouteKind::Unicast => {
                steps.found(
                    Stage::Route,
                    format!("{text}: no address of this host, so it is forwarded"),
                );
                Err(self.forwarded(route))
            }
            kind => {
                steps.found(Stage::Route, format!("{text} ({kind:?})"));
                Err(End {
                    verdict: Verdict::NotUnicast,
                    sees: Sees::Unknown,
                    advice: "only packets to one address of this host are the gate's business"
                        .into(),
                })
            }
        }
    }

    fn forwarded(&self, route: &RouteFact) -> End {
        let next = route
            .device
            .filter(|device| *device != self.vrf.link.ifindex)
            .and_then(|device| self.facts.link(device))
            .filter(|link| matches!(link.kind, LinkKind::Vrf { .. }));
        End {
            verdict: Verdict::Forwarded,
            sees: Sees::Unknown,
            advice: match next {
                Some(vrf) => format!(
                    "the route leads into VRF {}; what becomes of the packet there is not the gate's business",
                    vrf.name
                ),
                None => format!(
                    "{} is not here: ask the host that has it, or give this host the address",
                    self.question.to.ip()
                ),
            },
        }
    }

    fn not_delivered(&self, route: &RouteFact, device: Option<&str>) -> End {
        let to_loopback = device == Some("lo");
        let why = match (to_loopback, self.question.to.is_ipv4()) {
            (true, true) => {
                "a unicast route to lo, as old FRR leaks them, makes the packet come in once more by lo, as one \
                 of the main domain: the gate is not asked, and answers need a return route in main; "
            }
            (true, false) => "a unicast route to lo, as old FRR leaks them, delivers nothing; ",
            (false, _) => {
                "a unicast route delivers nothing while the VRF's table is asked before local addresses; "
            }
        };
        End {
            verdict: Verdict::NotDelivered,
            sees: match (to_loopback, self.question.to.is_ipv4()) {
                (true, true) if self.leads_on(self.facts.replies.main.as_ref()) => Sees::Unknown,
                (true, true) | (false, _) => Sees::Silence,
                // The kernel turns such a route into one that rejects (`fib6_is_reject`).
                (true, false) => Sees::Unreachable,
            },
            advice: format!("{why}{}", self.leak(Some(route))),
        }
    }
}
