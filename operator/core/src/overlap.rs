//! Rules of a VRF that claim the same packets. Pure.

use std::{collections::HashMap, net::IpAddr};

use crate::{Opening, Prefix, Protocol, Rule, RuleError, Vrf};

/// Ports of one address that a rule opens: the first, the last, and the rule's name.
type Opened<'a> = (u16, u16, &'a str);

/// Refuses two rules that open the same port of the same address: a packet is counted, and its source looked for, in
/// one rule only. Openings of one rule may overlap.
pub(crate) fn refuse_overlaps(vrf: &Vrf) -> Result<(), RuleError> {
    let mut by_address: HashMap<(Protocol, IpAddr), Vec<Opened<'_>>> = HashMap::new();
    for rule in &vrf.rules {
        for opening in &rule.opens {
            let opened = (opening.ports.first(), opening.ports.last(), &*rule.name);
            for &address in &opening.addresses {
                by_address
                    .entry((opening.protocol, address))
                    .or_default()
                    .push(opened);
            }
        }
    }
    for ((protocol, address), mut opened) in by_address {
        join_those_of_one_rule(&mut opened);
        opened.sort_unstable();
        // Where any two overlap, two neighbours do.
        for pair in opened.windows(2) {
            if let &[(_, last, first), (port, _, second)] = pair
                && port <= last
            {
                return Err(RuleError::Overlap {
                    vrf: vrf.name.clone(),
                    first: first.to_owned(),
                    second: second.to_owned(),
                    address,
                    port,
                    protocol,
                });
            }
        }
    }
    refuse_overlapping_prefixes(vrf)
}

/// Makes one range of those that overlap and are of one rule.
fn join_those_of_one_rule(opened: &mut Vec<Opened<'_>>) {
    if opened.len() < 2 {
        return;
    }
    opened.sort_unstable_by_key(|&(first, last, rule)| (rule, first, last));
    opened.dedup_by(|later, earlier| {
        let joins = later.2 == earlier.2 && later.0 <= earlier.1;
        if joins {
            earlier.1 = earlier.1.max(later.1);
        }
        joins
    });
}

fn refuse_overlapping_prefixes(vrf: &Vrf) -> Result<(), RuleError> {
    // Only pairs in which one has prefixes: among 100,000 rules without, there would be billions.
    let with_prefixes = vrf.rules.iter().enumerate();
    let with_prefixes = with_prefixes.filter(|(_, rule)| rule.has_prefixes());
    for (place, rule) in with_prefixes {
        let (before, after) = (&vrf.rules[..place], &vrf.rules[place + 1..]);
        for other in before {
            refuse_shared_prefix(vrf, other, rule)?;
        }
        for other in after {
            refuse_shared_prefix(vrf, rule, other)?;
        }
    }
    Ok(())
}

fn refuse_shared_prefix(vrf: &Vrf, first: &Rule, second: &Rule) -> Result<(), RuleError> {
    for one in &first.opens {
        for other in &second.opens {
            let Some(ports) = one.ports.intersection(other.ports) else {
                continue;
            };
            if one.protocol != other.protocol {
                continue;
            }
            if let Some(address) = shared(one, other).or_else(|| shared(other, one)) {
                return Err(RuleError::Overlap {
                    vrf: vrf.name.clone(),
                    first: first.name.clone(),
                    second: second.name.clone(),
                    address,
                    port: ports.first(),
                    protocol: one.protocol,
                });
            }
        }
    }
    Ok(())
}

/// An address or prefix of `one` that lies in a prefix of the other.
fn shared(one: &Opening, other: &Opening) -> Option<IpAddr> {
    let addresses = one.addresses.iter().copied().map(Prefix::host);
    addresses
        .chain(one.prefixes.iter().copied())
        .find(|net| other.prefixes.iter().any(|prefix| prefix.covers(*net)))
        .map(Prefix::network)
}
