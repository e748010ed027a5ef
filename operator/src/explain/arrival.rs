//! From the wire to "delivered here": the VRF's devices, the policy database, the route.

use std::net::IpAddr;

use super::{
    Answer, Facts, NoWay, PolicyRule, Question, RouteFact, RouteKind, RuleAction, end_of_table,
    facts::{Vrf, table_name},
    judge::{Case, End, Sees, Stage, Steps, Verdict},
    policy::{deciding, local_first},
};
use vrfgate_core::LinkKind;

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
        let names = |wanted: &[&vrfgate_core::Link]| {
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

    /// The slave that leads to the client is the one its packets come in by; so is the only one.
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

    fn policy(&self, table: u32, steps: &mut Steps) {
        let rules = &self.facts.rules;
        let Some(rule) = deciding(rules, self.question, self.vrf, table) else {
            steps.found(
                Stage::Policy,
                format!("a rule that looks into table {} decides", table_name(table)),
            );
            return;
        };
        let order = match (
            local_first(rules, self.question, self.vrf),
            rules.iter().any(|rule| rule.action == RuleAction::L3mdev),
        ) {
            (_, false) => {
                " (there is no l3mdev rule: the VRF's own table is asked by no rule of the kernel's)"
            }
            (true, true) => {
                " (local addresses come before the VRF's table: reached with or without a leak route)"
            }
            (false, true) => " (the VRF's table comes before local addresses)",
        };
        let went_on = if self.went_on(rule) {
            format!(
                "; table {} of the VRF knows no route for it and doesn't end the look-up, which `{}` would",
                self.vrf.table,
                end_of_table(self.vrf.table, self.question.to.is_ipv4())
            )
        } else {
            String::new()
        };
        steps.found(Stage::Policy, format!("{rule} decides{order}{went_on}"));
    }

    /// Whether a rule was asked only because the VRF's own table had nothing to say.
    fn went_on(&self, decides: &PolicyRule) -> bool {
        let mut met = self
            .facts
            .rules
            .iter()
            .filter(|rule| rule.matches(self.question, self.vrf));
        decides.action != RuleAction::L3mdev
            && met
                .by_ref()
                .take_while(|rule| *rule != decides)
                .any(|rule| rule.action == RuleAction::L3mdev)
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
                (true, true) if self.main_leads_back() => Sees::Unknown,
                (true, true) | (false, _) => Sees::Silence,
                // The kernel makes such a route one that rejects (`fib6_is_reject`).
                (true, false) => Sees::Unreachable,
            },
            advice: format!("{why}{}", self.leak(Some(route))),
        }
    }

    /// How an address of this host is leaked.
    fn leak(&self, instead_of: Option<&RouteFact>) -> String {
        let address = self.question.to.ip();
        let device = self
            .facts
            .holder(address)
            .map_or_else(|| "lo".to_owned(), |device| self.facts.device_text(device));
        // A route for the very address stands in the way of another.
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

    fn no_way(&self, no_way: &NoWay, steps: &mut Steps) -> End {
        let here = self.facts.holder(self.question.to.ip()).is_some();
        let cure = || {
            if here {
                self.leak(None)
            } else {
                format!("{} is no address of this host", self.question.to.ip())
            }
        };
        match no_way {
            NoWay::ReversePath => return self.reverse_path(steps),
            NoWay::Other(reason) => {
                steps.found(Stage::Route, format!("the kernel says: {reason}"));
                return End {
                    verdict: Verdict::NoRoute,
                    sees: Sees::Unknown,
                    advice: cure(),
                };
            }
            NoWay::NoRoute | NoWay::Unreachable | NoWay::Prohibited | NoWay::Invalid => {}
        }
        let Some((finding, silent)) = self.dead_end(steps) else {
            return self.nothing_found(no_way, &cure(), steps);
        };
        steps.found(Stage::Route, finding);
        End {
            verdict: Verdict::Unreachable,
            sees: if silent {
                Sees::Silence
            } else {
                Sees::Unreachable
            },
            advice: cure(),
        }
    }

    fn reverse_path(&self, steps: &mut Steps) -> End {
        steps.found(Stage::Route, "dropped by the reverse path filter");
        End {
            verdict: Verdict::ReversePath,
            sees: Sees::Silence,
            advice: format!(
                "give {0} a route back to {1} in table {2}, or set net.ipv4.conf.{0}.rp_filter (and \
                 .all) to 0 or 2",
                self.vrf_name(),
                self.question.from,
                self.vrf.table
            ),
        }
    }

    /// Whether the source is an address that another host may have.
    fn may_be_a_client(&self) -> bool {
        let from = self.question.from;
        let of_nobody = match from {
            IpAddr::V4(from) => from.octets()[0] == 0 || from.is_broadcast(),
            IpAddr::V6(from) => from.is_unspecified(),
        };
        !(of_nobody || from.is_loopback()) && self.facts.holder(from).is_none()
    }

    fn nothing_found(&self, no_way: &NoWay, cure: &str, steps: &mut Steps) -> End {
        if *no_way == NoWay::Invalid {
            // Linux 7 says the same of a source that no client may have and of one that is filtered.
            if self.may_be_a_client() {
                return self.reverse_path(steps);
            }
            steps.found(
                Stage::Route,
                format!("{} can't be a client's address here", self.question.from),
            );
            return End {
                verdict: Verdict::ImpossibleSource,
                sees: Sees::Silence,
                advice: "is it an address of this host, or loopback? A client needs one of its own"
                    .into(),
            };
        }
        steps.found(
            Stage::Route,
            "no table that the rules name has a route, or this host doesn't forward",
        );
        End {
            verdict: Verdict::NoRoute,
            sees: Sees::Unreachable,
            advice: cure.to_owned(),
        }
    }

    /// What ends the look-up, and whether it does so without a word.
    fn dead_end(&self, steps: &mut Steps) -> Option<(String, bool)> {
        let met = self
            .facts
            .rules
            .iter()
            .filter(|rule| rule.matches(self.question, self.vrf));
        for rule in met {
            match rule.action {
                RuleAction::Unreachable | RuleAction::Prohibit | RuleAction::Blackhole => {
                    return Some((
                        format!("the policy rule {rule} ends it"),
                        rule.action == RuleAction::Blackhole,
                    ));
                }
                _ => {}
            }
            let closest = self
                .facts
                .dead_ends
                .iter()
                .filter(|route| Some(route.table) == rule.table(self.vrf))
                .max_by_key(|route| route.prefix.map(|prefix| prefix.prefix_len()));
            match closest {
                Some(route) if route.kind != RouteKind::Throw => {
                    self.policy(route.table, steps);
                    return Some((
                        format!("{} ends it", self.facts.route(route)),
                        route.kind == RouteKind::Blackhole,
                    ));
                }
                _ => {}
            }
        }
        None
    }
}
