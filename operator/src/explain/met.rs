//! Which rules of the policy database match a packet of a VRF, and which of them decides.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    case::{Case, Steps},
    explanation::Stage,
};
use crate::facts::{LOCAL_TABLE, PolicyRule, Question, RuleAction, Vrf, end_of_table, table_name};

impl PolicyRule {
    /// The table it has the packet looked up in.
    pub(super) fn table(&self, vrf: Vrf<'_>) -> Option<u32> {
        match self.action {
            RuleAction::Table(table) => Some(table),
            RuleAction::L3mdev => Some(vrf.table),
            _ => None,
        }
    }

    /// Whether it matches the packet.
    pub(super) fn matches(&self, question: &Question, vrf: Vrf<'_>) -> bool {
        let Self {
            preference: _,
            inverted,
            from,
            to,
            input,
            output,
            mark,
            special,
            protocol,
            client_ports,
            ports,
            action: _,
        } = self;
        let inside =
            |net: &Option<IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        // The kernel has replaced the slave by the VRF already. What this host sends comes in by `lo`.
        let (way_in, way_out) = if vrf.local_client {
            ("lo", Some(&vrf.link.name))
        } else {
            (vrf.link.name.as_str(), None)
        };
        let met = inside(from, question.from)
            && inside(to, question.to.ip())
            && input.as_ref().is_none_or(|input| input == way_in)
            && output.as_ref().is_none_or(|output| Some(output) == way_out)
            // The packet is assumed to have no mark.
            && mark.is_none_or(|(mark, mask)| mark & mask == 0)
            && !special
            && protocol.is_none_or(|number| number == question.protocol.number())
            && !client_ports
            && ports
                .as_ref()
                .is_none_or(|ports| ports.contains(&question.to.port()));
        met != *inverted
    }
}

impl Case<'_> {
    /// Notes the rule that has the packet looked up in a table.
    pub(super) fn policy(&self, table: u32, steps: &mut Steps) {
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

    /// Whether a rule was used only because the VRF's own table had no route.
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
}

/// The rule whose table has the route: the first that matches and looks into this table.
fn deciding<'a>(
    rules: &'a [PolicyRule],
    question: &Question,
    vrf: Vrf<'_>,
    table: u32,
) -> Option<&'a PolicyRule> {
    rules
        .iter()
        .filter(|rule| rule.matches(question, vrf))
        .find(|rule| rule.table(vrf) == Some(table))
}

/// Whether the table of local addresses is looked up before the VRF's own.
fn local_first(rules: &[PolicyRule], question: &Question, vrf: Vrf<'_>) -> bool {
    rules
        .iter()
        .filter(|rule| rule.matches(question, vrf))
        .find_map(|rule| match rule.action {
            RuleAction::L3mdev => Some(false),
            RuleAction::Table(LOCAL_TABLE) => Some(true),
            _ => None,
        })
        .unwrap_or(false)
}
