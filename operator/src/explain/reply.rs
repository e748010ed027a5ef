//! The socket that takes the packet, and whether its answer arrives.

use vrfgate_core::{OpenSocket, Protocol};

use super::{
    case::{Case, End, Steps, other, sysctl},
    explanation::{Sees, Stage, Verdict},
};
use crate::facts::{Answer, PolicyRule, RuleAction, Steered};

/// A socket takes the packet.
pub(super) struct Taken<'a> {
    pub(super) socket: &'a OpenSocket,
    /// What to know although it does.
    pub(super) advice: Option<String>,
}

impl Case<'_> {
    /// The socket that takes the packet.
    pub(super) fn socket(&self, steps: &mut Steps) -> Result<Taken<'_>, End> {
        let lookup = self.lookup();
        // Unbound sockets take what bypasses the VRF, whatever the sysctl.
        let accept = self.past_vrf().is_some() || self.facts.accepts(self.question.protocol);
        let Some(socket) = lookup.winner(accept) else {
            return Err(self.nobody(steps));
        };
        let mut findings = vec![self.describe(socket)];
        let rival = lookup
            .on_port()
            .filter(|other| other.device.is_none() != socket.device.is_none())
            .find(|other| other.takes_address(self.question.to.ip()));
        let mut advice = Vec::new();
        if let Some(rival) = rival {
            findings.push(format!("{} has the port too", self.describe(rival)));
            if accept {
                advice.push(format!(
                    "a port clash: where both set SO_REUSEPORT, the order in which they began to listen \
                     decides who gets the packet; keep the port to one of {} and {}",
                    self.describe(socket),
                    self.describe(rival)
                ));
            }
        }
        let open_to_vrfs = self.past_vrf().is_none() && socket.device.is_none();
        if self.facts.gate.is_none() && open_to_vrfs {
            advice.push(format!(
                "{} is 1 without a gate, so every unbound socket is open to every VRF: `vrfgate run` closes \
                 what isn't listed",
                sysctl(self.question.protocol)
            ));
        }
        steps.found(Stage::Socket, findings.join("; "));
        Ok(Taken {
            socket,
            advice: (!advice.is_empty()).then(|| advice.join("; ")),
        })
    }

    fn nobody(&self, steps: &mut Steps) -> End {
        let lookup = self.lookup();
        let (to, protocol) = (self.question.to, self.question.protocol);
        let (verdict, finding, advice) = if let Some(unbound) = lookup.winner(true) {
            let finding = format!(
                "{} is unbound, and with {}=0 no unbound socket is open to a VRF",
                self.describe(unbound),
                sysctl(protocol)
            );
            if self.facts.gate.is_none() {
                let advice = self.leaks_that_failed().unwrap_or_else(|| {
                    format!(
                        "list {} in a VrfLeak of VRF {} and start `vrfgate run`",
                        self.listing(),
                        self.vrf_name()
                    )
                });
                (Verdict::NoGate, finding, advice)
            } else {
                let advice = format!(
                    "a gate sets {} to 1 while a {protocol} service is listed: list {}; if one is, something \
                     else has reset it, and a running `vrfgate run` sets it again",
                    sysctl(protocol),
                    self.listing()
                );
                (Verdict::SysctlClosed, finding, advice)
            }
        } else if let Some(deaf) = lookup
            .on_port()
            .find(|socket| socket.takes_address(to.ip()))
        {
            let vrf = deaf.device.and_then(|device| self.facts.vrf_of(device));
            (
                Verdict::ListenerOnOtherDevice,
                format!("only {} has the port", self.describe(deaf)),
                match vrf {
                    Some(vrf) if vrf.ifindex != self.vrf.link.ifindex => format!(
                        "it hears VRF {} alone: start one for VRF {}, or one that is bound to no device",
                        vrf.name,
                        self.vrf_name()
                    ),
                    _ => {
                        "it hears that device alone: bind it to the VRF, or to no device".to_owned()
                    }
                },
            )
        } else if let Some(deaf) = lookup.on_port().next() {
            let (verdict, why) = if deaf.address.is_loopback() {
                (Verdict::ListenerOnLoopback, "it hears this host alone")
            } else {
                (Verdict::ListenerOnOtherAddress, "it hears another address")
            };
            (
                verdict,
                format!("only {} has the port", self.describe(deaf)),
                format!(
                    "{why}: make the server listen on {} or on any address",
                    to.ip()
                ),
            )
        } else {
            let other = other(protocol);
            let crossed = self
                .facts
                .sockets
                .iter()
                .any(|socket| socket.protocol == other && socket.port == to.port());
            let hint = if crossed {
                format!(" (something has {other} port {})", to.port())
            } else {
                String::new()
            };
            (
                Verdict::NoListener,
                format!("nothing has {protocol} port {}{hint}", to.port()),
                "start the server".to_owned(),
            )
        };
        steps.found(Stage::Socket, finding);
        End {
            verdict,
            sees: Sees::Refused,
            advice,
        }
    }

    /// Whether the answer arrives. `rule` is the name of the gate's rule, if one let the packet in.
    pub(super) fn reply(
        &self,
        socket: &OpenSocket,
        rule: Option<&str>,
        steps: &mut Steps,
    ) -> Result<(), End> {
        let replies = &self.facts.replies;
        // A datagram socket that is bound to no address leaves the source to the route.
        let chooses = self.question.protocol == Protocol::Udp && socket.address.is_unspecified();
        // An accepted TCP socket is bound to the VRF by the kernel.
        let inside = self.question.protocol == Protocol::Tcp || socket.device.is_some();
        let answer = match (inside, chooses) {
            (true, false) => &replies.vrf_from,
            (true, true) => &replies.vrf,
            (false, false) => &replies.main_from,
            (false, true) => &replies.main,
        };
        let asked = if inside {
            format!("VRF {}'s table", self.vrf_name())
        } else {
            "the main domain's tables".to_owned()
        };
        let steered = rule.filter(|_| !inside).and_then(|rule| self.steered(rule));
        if let Some(steered) = steered
            && !self.has_mark_rule(steered)
        {
            steps.found(
                Stage::Reply,
                format!(
                    "{} is to be steered, but no policy rule looks up mark {} in table {}",
                    self.question.protocol,
                    mark(steered),
                    self.vrf.table
                ),
            );
            return Err(End {
                verdict: Verdict::ReplyLost,
                sees: Sees::Silence,
                advice: "something else has removed it; a running `vrfgate run` makes it again"
                    .to_owned(),
            });
        }
        let route = match answer {
            Some(Answer::Route(route)) if steered.is_some() || self.leads_back(route) => route,
            Some(Answer::Route(route)) => {
                steps.found(
                    Stage::Reply,
                    format!(
                        "by {asked}: {} leads away from VRF {}",
                        self.facts.route(route),
                        self.vrf_name()
                    ),
                );
                return Err(self.lost(inside));
            }
            Some(Answer::None(_)) | None => {
                steps.found(
                    Stage::Reply,
                    format!("by {asked}: no way to {}", self.question.from),
                );
                return Err(if steered.is_some() {
                    self.nothing_to_steer()
                } else {
                    self.lost(inside)
                });
            }
        };
        // A route of the main domain into the VRF device leads on to the VRF's own table; so does a mark.
        if !inside && !self.leads_on(replies.vrf_from.as_ref()) {
            steps.found(
                Stage::Reply,
                format!(
                    "by {asked} into VRF {}, whose own table knows no way to {}",
                    self.vrf_name(),
                    self.question.from
                ),
            );
            return Err(self.lost(true));
        }
        let text = self.facts.route(route);
        if chooses && route.source != Some(self.question.to.ip()) {
            let source = route
                .source
                .map_or_else(|| "no address".to_owned(), |source| source.to_string());
            steps.found(
                Stage::Reply,
                format!("by {asked}: {text}, from {source} instead of the asked address"),
            );
            return Err(self.wrong_source(inside));
        }
        let then = match steered {
            Some(steered) => format!(
                "; steered back into VRF {} by mark {}",
                self.vrf_name(),
                mark(steered)
            ),
            None => String::new(),
        };
        steps.found(Stage::Reply, format!("by {asked}: {text}{then}"));
        Ok(())
    }

    /// How replies to what this rule admits are steered, if they are.
    fn steered(&self, rule: &str) -> Option<&Steered> {
        let steered = self.facts.steered.as_ref()?;
        steered
            .rules
            .iter()
            .any(|name| name == rule)
            .then_some(steered)
    }

    fn has_mark_rule(&self, steered: &Steered) -> bool {
        self.facts.rules.iter().any(|rule: &PolicyRule| {
            rule.mark == Some(steered.mark) && rule.action == RuleAction::Table(self.vrf.table)
        })
    }

    fn nothing_to_steer(&self) -> End {
        End {
            verdict: Verdict::ReplyLost,
            sees: Sees::Silence,
            advice: format!(
                "the server's sendto fails before there is an answer to steer: give the main table any route \
                 that holds {}, such as a default route",
                self.question.from
            ),
        }
    }

    /// Whether refusals and ICMP errors arrive: they leave by the VRF's table.
    pub(super) fn errors_arrive(&self) -> bool {
        self.past_vrf().is_none() && self.leads_on(self.facts.replies.vrf.as_ref())
    }

    fn lost(&self, inside: bool) -> End {
        let client = self.question.from;
        End {
            verdict: Verdict::ReplyLost,
            sees: Sees::Silence,
            advice: if inside {
                format!(
                    "give VRF {} a route to {client} in table {}",
                    self.vrf_name(),
                    self.vrf.table
                )
            } else {
                format!(
                    "UDP answers leave by the main table unless the server echoes the interface it was asked \
                     by: {}",
                    self.return_route()
                )
            },
        }
    }

    fn wrong_source(&self, inside: bool) -> End {
        let asked = self.question.to.ip();
        let server = format!(
            "make the server listen on {asked} itself, or answer from the address it was asked at"
        );
        End {
            verdict: Verdict::ReplyFromWrongAddress,
            sees: Sees::Silence,
            // IPv6 refuses a source of the main domain for a route into a VRF ("Invalid source address").
            advice: if inside || asked.is_ipv6() {
                format!("{server} (IPV6_PKTINFO or IP_PKTINFO); if it does, all is well")
            } else {
                format!("{}; or {server}", self.return_route())
            },
        }
    }

    fn return_route(&self) -> String {
        let (client, asked) = (self.question.from, self.question.to.ip());
        let vrf = self.vrf_name();
        let source = if asked.is_ipv4() {
            format!(" src {asked}")
        } else {
            String::new()
        };
        format!(
            "list the client's prefix under `returnRoutes` with `source: {asked}`, or: ip route replace \
             {client} dev {vrf}{source}"
        )
    }
}

fn mark(steered: &Steered) -> String {
    let (value, mask) = steered.mark;
    format!("{value:#x}/{mask:#x}")
}
