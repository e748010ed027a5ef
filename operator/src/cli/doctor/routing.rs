//! The order of policy rules, and where look-ups of VRFs end: each family on its own.

use vrfgate_core::NodeFacts;

use super::Finding;
use crate::{
    facts::{PolicyRule, RuleAction, end_of_table},
    node::{FactsError, OpenEnd, Watcher},
};

/// Number of the table of local addresses.
const LOCAL_TABLE: u32 = 255;

/// Where the kernel puts its own l3mdev rule (`FIB_RULES` in drivers/net/vrf.c), once there is a VRF.
const L3MDEV: u32 = 1000;

pub(super) async fn findings(
    watcher: &Watcher,
    facts: &NodeFacts,
) -> Result<Vec<Finding>, FactsError> {
    let mut findings = Vec::new();
    for (family, ipv4) in [("IPv4", true), ("IPv6", false)] {
        let rules = watcher.rules_of(ipv4).await?;
        // Where IPv6 is switched off for good, there is none.
        if !rules.is_empty() {
            findings.push(rule_order(family, &rules));
        }
    }
    findings.extend(watcher.open_ends(facts).await?.iter().map(open_end));
    Ok(findings)
}

fn rule_order(family: &str, rules: &[PolicyRule]) -> Finding {
    let first = |wanted: RuleAction| {
        let met = rules.iter().filter(|rule| rule.action == wanted);
        met.map(|rule| rule.preference).min()
    };
    let l3mdev = first(RuleAction::L3mdev).unwrap_or(L3MDEV);
    match first(RuleAction::Table(LOCAL_TABLE)) {
        Some(preference) if preference < l3mdev => Finding::Note(format!(
            "{family}: the local table comes before the VRFs' tables (ip rule, preference {preference}): packets from \
             any VRF reach any address of this host, with or without a leak route"
        )),
        Some(preference) => Finding::Good(format!(
            "{family}: the local table comes after the VRFs' tables (ip rule, preference {preference}): a VRF reaches \
             what is leaked to it"
        )),
        None => Finding::Note(format!("{family}: no policy rule looks up the local table")),
    }
}

fn open_end(end: &OpenEnd) -> Finding {
    let OpenEnd {
        vrf,
        table,
        ipv4,
        rule,
    } = end;
    let family = if *ipv4 { "IPv4" } else { "IPv6" };
    Finding::Note(format!(
        "{family}: nothing ends look-ups in table {table} of VRF {vrf}: what it has no route for is looked up elsewhere \
         ({rule}), so that its clients reach what the main table routes to. To end them: {}",
        end_of_table(*table, *ipv4)
    ))
}
