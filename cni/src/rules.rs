//! Attachments and facts become the rules of one namespace's gate. Pure.

use std::collections::BTreeSet;

use vrfgate_ebpf::{Mode, Opening, Rule, RuleSet, Vrf};

use crate::{Attachment, Facts, Link, Service, config::is_on_purpose};

/// The rules of a namespace whose attachments are `attachments`: for each VRF, what any of them opens. A VRF that
/// none speaks of is gated like the others, and has no rules.
#[must_use]
pub fn rule_set(attachments: &[Attachment], facts: &Facts) -> RuleSet {
    let slaves = facts.vrfs().flat_map(|vrf| {
        facts
            .slaves_of(vrf.ifindex)
            .map(|slave| (slave.ifindex, vrf.ifindex))
    });
    RuleSet {
        vrfs: facts
            .vrfs()
            .map(|vrf| (vrf.ifindex, gated(vrf, attachments, facts)))
            .collect(),
        slaves: slaves.collect(),
    }
}

fn gated(vrf: &Link, attachments: &[Attachment], facts: &Facts) -> Vrf {
    let mut rules: Vec<Rule> = Vec::new();
    for attachment in attachments {
        let wanted = attachment.vrf.as_ref();
        if wanted.is_some_and(|wanted| wanted.as_str() != vrf.name) {
            continue;
        }
        for service in &attachment.services {
            let rule = rule(attachment, service, vrf, facts);
            // Two networks may well open the same service of a pod. What differs in anything is for the loader to
            // refuse.
            if !rules.iter().any(|there| opens_the_same(there, &rule)) {
                rules.push(rule);
            }
        }
    }
    Vrf {
        name: vrf.name.clone(),
        mode: Mode::Enforce,
        rules,
    }
}

fn rule(attachment: &Attachment, service: &Service, vrf: &Link, facts: &Facts) -> Rule {
    let means = |address| {
        if service.addresses.is_empty() {
            !is_on_purpose(address)
        } else {
            service.addresses.iter().any(|prefix| prefix.means(address))
        }
    };
    // Sorted, each once: an address may be on two devices.
    let addresses: BTreeSet<_> = facts
        .reachable_from(vrf.ifindex)
        .filter(|address| means(*address))
        .collect();
    // An interface has its name to itself in a namespace, whatever container it is of.
    let key = &attachment.key;
    Rule {
        name: format!("{}/{}/{}", key.network, key.ifname, service.name),
        opens: vec![Opening {
            protocol: service.protocol,
            ports: service.ports(),
            addresses: addresses.into_iter().collect(),
            prefixes: Vec::new(),
        }],
        sources: service.sources.iter().copied().map(Into::into).collect(),
    }
}

fn opens_the_same(one: &Rule, other: &Rule) -> bool {
    let named_alike = Rule {
        name: one.name.clone(),
        ..other.clone()
    };
    *one == named_alike
}
