//! Whether a look-up for a packet of a VRF ends in the VRF's own table.

use super::{LOCAL_TABLE, PolicyRule, RuleAction};

/// `RT_TABLE_DEFAULT`, which nobody uses. Its rule is the last on every host.
const DEFAULT_TABLE: u32 = 253;

/// Metric that the kernel's documentation of VRFs advises for this route: the last but the one for "never".
const LAST_METRIC: u32 = 4_278_198_272;

/// The rule that has packets of a VRF looked up in another table when their own has no route for them. Rules for some
/// packets only are skipped.
#[must_use]
pub fn goes_on<'a>(rules: &'a [PolicyRule], vrf: &str) -> Option<&'a PolicyRule> {
    let mut own_table_asked = false;
    for rule in rules.iter().filter(|rule| is_for_all_of(rule, vrf)) {
        match rule.action {
            RuleAction::L3mdev => own_table_asked = true,
            RuleAction::Unreachable | RuleAction::Prohibit | RuleAction::Blackhole => return None,
            RuleAction::Table(LOCAL_TABLE | DEFAULT_TABLE) | RuleAction::Other => {}
            RuleAction::Table(_) if own_table_asked => return Some(rule),
            RuleAction::Table(_) => {}
        }
    }
    None
}

/// The command that makes look-ups end in a table.
#[must_use]
pub fn end_of_table(table: u32, ipv4: bool) -> String {
    let family = if ipv4 { "" } else { "-6 " };
    format!("ip {family}route add unreachable default metric {LAST_METRIC} table {table}")
}

fn is_for_all_of(rule: &PolicyRule, vrf: &str) -> bool {
    let PolicyRule {
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
    } = rule;
    !inverted
        && from.is_none()
        && to.is_none()
        && input.as_ref().is_none_or(|input| input == vrf)
        && output.is_none()
        && mark.is_none()
        && !special
        && protocol.is_none()
        && !client_ports
        && ports.is_none()
}
