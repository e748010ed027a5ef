//! What the CNI plugin attaches to pods, and what of it can be in force together.
//!
//! Plugin and agent decide by this, so that a gate that changes hands keeps its rules and their counters.

use std::{collections::BTreeSet, fmt};

use crate::{Attachment, Key, Leak, LeakName, Mode, Replies, Service, VrfName};

/// Part of a rule's name, at most so long, in bytes.
const LABEL_MAX: usize = 63;

/// Why two attachments of a namespace can't be in force together: both open a port to a VRF, and not to the same clients or
/// not on the same addresses; or both are of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The attachment that can't join.
    pub later: Key,
    /// The one that it can't join.
    pub earlier: Key,
    what: String,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What keeps an attachment from being in force beside others of its namespace. One that has its key is itself.
#[must_use]
pub fn contradiction(attachment: &Attachment, others: &[Attachment]) -> Option<Contradiction> {
    others
        .iter()
        .filter(|other| other.key != attachment.key)
        .find_map(|other| contradict(other, attachment))
}

/// What attachments of a namespace open to the clients of one VRF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Services by attachment. One that several ask for, such as two networks of a pod, is the first one's.
    pub services: Vec<(&'a Attachment, Vec<&'a Service>)>,
    /// Of two attachments that can't be in force together in this VRF, the later one.
    pub left_out: Vec<Contradiction>,
}

/// The services that attachments open to the clients of a VRF.
#[must_use]
pub fn opened<'a>(attachments: &'a [Attachment], vrf: &str) -> Opened<'a> {
    let mut opened = Opened::default();
    for (index, attachment) in attachments.iter().enumerate() {
        let mut earlier = attachments[..index].iter();
        if let Some(why) = earlier.find_map(|earlier| same_interface(earlier, attachment)) {
            opened.left_out.push(why);
            continue;
        }
        let named = attachment.vrf.as_ref();
        if named.is_some_and(|named| named.as_str() != vrf) {
            continue;
        }
        let mut earlier = opened.services.iter();
        if let Some(why) = earlier.find_map(|(earlier, _)| contradict(earlier, attachment)) {
            opened.left_out.push(why);
            continue;
        }
        let services = attachment.services.iter().filter(|service| {
            let mut earlier = opened.services.iter().flat_map(|(_, services)| services);
            !earlier.any(|earlier| earlier.opens_the_same(service))
        });
        let services = services.collect();
        opened.services.push((attachment, services));
    }
    opened
}

/// What keeps attachments of a namespace with these VRFs out of one of them: one reason for each.
#[must_use]
pub fn left_out<'a>(
    attachments: &[Attachment],
    vrfs: impl IntoIterator<Item = &'a str>,
) -> Vec<Contradiction> {
    let mut left_out: Vec<Contradiction> = Vec::new();
    for why in vrfs
        .into_iter()
        .flat_map(|vrf| opened(attachments, vrf).left_out)
    {
        if !left_out.iter().any(|known| known.later == why.later) {
            left_out.push(why);
        }
    }
    left_out
}

impl Attachment {
    /// What its rules for a VRF are called, before a slash and a service's name. A name as leaks have it: that is what
    /// they are to an agent.
    #[must_use]
    pub fn rules_name(&self, vrf: &str) -> LeakName {
        let Key {
            network, ifname, ..
        } = &self.key;
        let name = format!("cni.{}.{}", label(network), label(ifname));
        LeakName::of_labels(if self.vrf.is_some() {
            name
        } else {
            format!("{name}.{}", label(vrf))
        })
    }
}

/// The leaks that attachments of a namespace come to: one for each attachment and VRF that it is for, among `vrfs`, which are
/// there. One that names a VRF which isn't there waits for it.
#[must_use]
pub fn leaks_of(attachments: &[Attachment], vrfs: &[VrfName]) -> Vec<Leak> {
    let named = attachments.iter().filter_map(|one| one.vrf.clone());
    let all: BTreeSet<VrfName> = vrfs.iter().cloned().chain(named).collect();
    let leaks = all.iter().flat_map(|vrf| {
        let opened = opened(attachments, vrf.as_str()).services.into_iter();
        // One that is for every VRF waits for none.
        let is_there = vrfs.contains(vrf);
        let opened = opened.filter(move |(attachment, _)| is_there || attachment.vrf.is_some());
        opened.map(move |(attachment, services)| Leak {
            name: attachment.rules_name(vrf.as_str()),
            vrf: vrf.clone(),
            mode: Mode::Enforce,
            routes: Vec::new(),
            return_routes: Vec::new(),
            replies: Replies::Route,
            services: services.into_iter().cloned().collect(),
        })
    });
    leaks.collect()
}

/// An interface has its name to itself in a namespace, and so have its rules.
fn same_interface(earlier: &Attachment, later: &Attachment) -> Option<Contradiction> {
    let Key {
        network,
        ifname,
        container_id,
    } = &earlier.key;
    ((&later.key.network, &later.key.ifname) == (network, ifname)).then(|| Contradiction {
        later: later.key.clone(),
        earlier: earlier.key.clone(),
        what: format!(
            "{ifname} in network {network} is there already, by an ADD for container {container_id} in the same network \
             namespace; it needs a DEL first"
        ),
    })
}

fn contradict(earlier: &Attachment, later: &Attachment) -> Option<Contradiction> {
    if let Some(contradiction) = same_interface(earlier, later) {
        return Some(contradiction);
    }
    if let (Some(one), Some(other)) = (&earlier.vrf, &later.vrf)
        && one != other
    {
        return None;
    }
    later.services.iter().find_map(|service| {
        let mut others = earlier.services.iter();
        let (other, overlap) = others.find_map(|other| {
            let overlap = service.overlap(other)?;
            (!service.opens_the_same(other)).then_some((other, overlap))
        })?;
        let port = overlap.ports.first();
        let (protocol, name, its) = (service.protocol, &service.name, &other.name);
        let Key {
            network, ifname, ..
        } = &earlier.key;
        Some(Contradiction {
            later: later.key.clone(),
            earlier: earlier.key.clone(),
            what: format!(
                "service {name} opens {port}/{protocol}, which {its} of {ifname} in network {network} opens otherwise; give both \
                 the same ports, addresses and sources, or each a `vrf` of its own"
            ),
        })
    })
}

/// Names of devices and networks may hold what names of leaks may not. What has to be changed gets a mark by which it stays
/// another than the rest.
fn label(name: &str) -> String {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if legal(c) { c } else { '-' })
        .collect();
    let trimmed = label.trim_matches('-');
    if trimmed == name && (1..=LABEL_MAX).contains(&name.len()) {
        return label;
    }
    let mark = format!("{:08x}", fnv1a(name.as_bytes()));
    let room = LABEL_MAX - mark.len() - 1;
    let start = &trimmed[..trimmed.len().min(room)];
    match start.trim_end_matches('-') {
        "" => mark,
        start => format!("{start}-{mark}"),
    }
}

/// The hash of that name, of 32 bits: the same in every build, which those of the standard library need not be.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_legal_and_stay_apart() {
        let long = "n".repeat(300);
        for (name, begins) in [
            ("blue-net", "blue-net"),
            ("Blue_Net", "blue-net-"),
            ("blue_net", "blue-net-"),
            ("eth0.5", "eth0-5-"),
            ("-", ""),
            (&long, "nnnn"),
            ("é", ""),
            ("", ""),
        ] {
            let label = label(name);
            assert!(label.starts_with(begins), "{name}: {label}");
            assert!((1..=LABEL_MAX).contains(&label.len()), "{label}");
            assert_eq!(label.trim_matches('-'), label);
        }
        assert_ne!(label("Blue_Net"), label("blue_net"));
        assert_ne!(label(&"n".repeat(64)), label(&long));
    }
}
