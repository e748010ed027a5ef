//! Why the kernel has no route to the destination.

use std::net::IpAddr;

use super::{
    case::{Case, End, Steps},
    explanation::{Sees, Stage, Verdict},
};
use crate::facts::{NoWay, RouteKind, RuleAction};

impl Case<'_> {
    pub(super) fn no_way(&self, no_way: &NoWay, steps: &mut Steps) -> End {
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
            // Linux 7 has one error for a source that no client may have and for one that is filtered.
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

    /// What ends the look-up, and whether the client hears nothing of it.
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
