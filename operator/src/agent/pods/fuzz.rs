//! For the fuzzer: records and notices of the plugin.

use std::net::IpAddr;

use vrfgate_cni::{agent::Notice, rule_set, vrfs_of};
use vrfgate_core::{
    Attachment, Link, LinkKind, LocalAddress, NodeFacts, check_set, compile, first_conflict,
};

use super::wanted::Wanted;
use crate::api::VrfGateNodeSpec;

/// Records of one namespace, one a line: an agent puts the same rules into force as the plugin.
pub fn attachments(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut attachments: Vec<Attachment> =
        lines.filter_map(vrfgate_cni::fuzz::attachment).collect();
    attachments.sort_by(|one, other| one.key.cmp(&other.key));
    attachments.dedup_by(|one, other| one.key == other.key);
    let facts = facts();
    let leaks = Wanted::new(&attachments, None, &[])
        .settle(&vrfs_of(&facts))
        .leaks;
    for (number, leak) in leaks.iter().enumerate() {
        let mut others = leaks[..number].iter();
        let conflict = others.find_map(|other| first_conflict(other, leak));
        assert_eq!(conflict, None);
    }
    let of_agent = compile(&leaks, &facts).rule_set();
    let of_agent = of_agent.expect("leaks that go together are rules that do");
    let of_plugin = rule_set(&attachments, &facts).expect("what it has left goes together");
    assert_eq!(of_agent.enforced(), of_plugin);
}

/// What pods were asked to hold: each leak that an agent keeps of them can be in force beside the others.
pub fn asked_for(spec: &VrfGateNodeSpec) {
    let facts = facts();
    let vrfs = vrfs_of(&facts);
    for pod in &spec.pods {
        let leaks = Wanted::new(&[], Some(pod), &spec.pod_leaks)
            .settle(&vrfs)
            .leaks;
        assert_eq!(check_set(&leaks), []);
        let _ = compile(&leaks, &facts);
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
fn facts() -> NodeFacts {
    let link = |ifindex: u32, name: &str, master: Option<u32>| Link {
        ifindex,
        name: name.into(),
        kind: if ifindex < 3 {
            LinkKind::Vrf {
                table: Some(ifindex),
            }
        } else {
            LinkKind::Other
        },
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
    NodeFacts {
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
        prefixes: Vec::new(),
    }
}
