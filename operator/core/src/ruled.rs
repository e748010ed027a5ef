//! What a gate shall hold, as its rules.

use std::collections::HashMap;

use crate::{
    Desired, GatedVrf, LeakName, OpenService, Opening, Rule, RuleError, RuleSet, ServiceName, Vrf,
};

impl Desired {
    /// The rules of the gate. An error where leaks contradict each other, or one of them itself.
    pub fn rule_set(&self) -> Result<RuleSet, RuleError> {
        let slaves = self
            .vrfs
            .iter()
            .flat_map(|vrf| vrf.slaves.iter().map(|slave| (*slave, vrf.ifindex)));
        RuleSet::new(
            self.vrfs
                .iter()
                .map(|vrf| (vrf.ifindex, gated(vrf)))
                .collect(),
            slaves.collect(),
        )
    }
}

impl OpenService {
    /// What it opens.
    #[must_use]
    pub fn opening(&self) -> Opening {
        Opening {
            protocol: self.protocol,
            ports: self.ports,
            addresses: self.addresses.clone(),
            prefixes: self.prefixes.clone(),
        }
    }
}

fn gated(vrf: &GatedVrf) -> Vrf {
    Vrf {
        name: vrf.name.clone(),
        posture: vrf.posture,
        rules: rules(&vrf.services),
    }
}

/// One rule for each name: services of one name are what a reference leads to, and count together.
fn rules(services: &[OpenService]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: HashMap<(&LeakName, &ServiceName), usize> = HashMap::new();
    for service in services {
        let place = places.get(&(&service.leak, &service.service)).copied();
        // Those of another source are another rule, which is refused for its name.
        match place.and_then(|place| rules.get_mut(place)) {
            Some(rule) if rule.sources == service.sources => {
                add(&mut rule.opens, service.opening());
            }
            _ => {
                places.insert((&service.leak, &service.service), rules.len());
                rules.push(Rule {
                    name: format!("{}/{}", service.leak, service.service),
                    opens: vec![service.opening()],
                    sources: service.sources.clone(),
                });
            }
        }
    }
    rules
}

/// The same ports on more addresses are one opening.
fn add(opens: &mut Vec<Opening>, opening: Opening) {
    let same = opens
        .iter_mut()
        .find(|there| (there.protocol, &there.ports) == (opening.protocol, &opening.ports));
    let Some(there) = same else {
        opens.push(opening);
        return;
    };
    for address in opening.addresses {
        if !there.addresses.contains(&address) {
            there.addresses.push(address);
        }
    }
    for prefix in opening.prefixes {
        if !there.prefixes.contains(&prefix) {
            there.prefixes.push(prefix);
        }
    }
}
