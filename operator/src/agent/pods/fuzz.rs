//! For the fuzzer: what the plugin has written down, and says.

use std::net::IpAddr;

use vrfgate_cni::{Attachment, Facts, Link, LocalAddress, agent::Notice, rule_set};
use vrfgate_ebpf::Rule;

use super::wanted::Wanted;
use crate::api::VrfGateNodeSpec;
use vrfgate_core::{LinkKind, NodeFacts, OpenService, VrfName, check_set, compile, first_conflict};

/// Records of one namespace, one a line: an agent puts the same rules into force as the plugin.
pub fn attachments(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut attachments: Vec<Attachment> =
        lines.filter_map(vrfgate_cni::fuzz::attachment).collect();
    attachments.sort_by(|one, other| one.key.cmp(&other.key));
    attachments.dedup_by(|one, other| one.key == other.key);
    let facts = facts();
    let vrfs: Vec<VrfName> = facts
        .vrfs()
        .filter_map(|vrf| vrf.name.parse().ok())
        .collect();
    let leaks = Wanted::new(&attachments, None, &[]).settle(&vrfs).leaks;
    for (number, leak) in leaks.iter().enumerate() {
        let mut others = leaks[..number].iter();
        let conflict = others.find_map(|other| first_conflict(other, leak));
        assert_eq!(conflict, None);
    }
    let of_agent = compile(&leaks, &node_facts(&facts));
    for (ifindex, vrf) in rule_set(&attachments, &facts).vrfs {
        let of_plugin: Vec<Open> = vrf.rules.iter().map(of_rule).collect();
        let of_agent = of_agent.vrfs.iter().find(|vrf| vrf.ifindex == ifindex);
        let of_agent: Vec<Open> = of_agent.map_or(Vec::new(), |vrf| {
            vrf.services.iter().map(of_service).collect()
        });
        assert_eq!(of_plugin, of_agent, "the rules of {}", vrf.name);
    }
}

/// What pods were asked to hold: each leak that an agent keeps of them can be in force beside the others.
pub fn asked_for(spec: &VrfGateNodeSpec) {
    let facts = facts();
    let vrfs: Vec<VrfName> = facts
        .vrfs()
        .filter_map(|vrf| vrf.name.parse().ok())
        .collect();
    for pod in &spec.pods {
        let leaks = Wanted::new(&[], Some(pod), &spec.pod_leaks)
            .settle(&vrfs)
            .leaks;
        assert_eq!(check_set(&leaks), []);
        let _ = compile(&leaks, &node_facts(&facts));
    }
}

/// What a rule opens, in words: name, protocol and ports, addresses, sources.
type Open = (String, String, Vec<IpAddr>, Vec<String>);

fn of_rule(rule: &Rule) -> Open {
    let addresses = rule.opens.iter().flat_map(|opens| &opens.addresses);
    let ports = rule.opens.first();
    let ports = ports.map(|opens| format!("{} {:?}", opens.protocol, opens.ports));
    (
        rule.name.clone(),
        ports.unwrap_or_default(),
        addresses.copied().collect(),
        sorted(&rule.sources),
    )
}

fn of_service(service: &OpenService) -> Open {
    let ports = service.ports.first()..=service.ports.last();
    (
        format!("{}/{}", service.leak, service.service),
        format!("{} {ports:?}", service.protocol),
        service.addresses.clone(),
        sorted(&service.sources),
    )
}

fn sorted(prefixes: &[impl ToString]) -> Vec<String> {
    let mut prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    prefixes.sort();
    prefixes
}

fn node_facts(facts: &Facts) -> NodeFacts {
    let links = facts.links.iter().map(|link| vrfgate_core::Link {
        ifindex: link.ifindex,
        name: link.name.clone(),
        kind: if link.is_vrf {
            LinkKind::Vrf {
                table: Some(link.ifindex),
            }
        } else {
            LinkKind::Other
        },
        master: link.master,
    });
    let addresses = facts.addresses.iter();
    let addresses = addresses.map(|address| vrfgate_core::LocalAddress {
        ifindex: address.ifindex,
        address: address.address,
    });
    NodeFacts {
        links: links.collect(),
        addresses: addresses.collect(),
        ..NodeFacts::default()
    }
}

/// A line on the socket.
pub fn notice(bytes: &[u8]) {
    let Ok(notice) = serde_json::from_slice::<Notice>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&notice).unwrap_or_default();
    let again = serde_json::from_slice::<Notice>(&written).ok();
    assert_eq!(again.as_ref(), Some(&notice));
    attachments(&serde_json::to_vec(&notice.attachment).unwrap_or_default());
}

/// A namespace with two VRFs, each with a slave, and a main interface.
fn facts() -> Facts {
    let link = |ifindex: u32, name: &str, master: Option<u32>| Link {
        ifindex,
        name: name.into(),
        is_vrf: ifindex < 3,
        master,
    };
    let addresses: [(u32, IpAddr); 6] = [
        (3, [10, 1, 0, 5].into()),
        (3, [0xfe80, 0, 0, 0, 0, 0, 0, 5].into()),
        (4, [10, 1, 0, 5].into()),
        (4, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 5].into()),
        (5, [10, 244, 0, 5].into()),
        (6, [127, 0, 0, 1].into()),
    ];
    Facts {
        links: vec![
            link(1, "BLUE", None),
            link(2, "RED", None),
            link(3, "net1", Some(1)),
            link(4, "net2", Some(2)),
            link(5, "eth0", None),
            link(6, "lo", None),
        ],
        addresses: addresses
            .into_iter()
            .map(|(ifindex, address)| LocalAddress { ifindex, address })
            .collect(),
    }
}
