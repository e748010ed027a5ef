//! What one pod's namespace shall hold: what its network configurations say, and the leaks that select it. Pure.

use std::{collections::BTreeSet, num::NonZeroU16, sync::Arc};

use vrfgate_cni::{Attachment, left_out, opened};

use crate::api::{GateLeak, GatePod};
use vrfgate_core::{
    Leak, LeakName, Mode, PortRange, Prefix, Protocol, Replies, Service, ServiceName, VrfName,
    first_conflict,
};

/// What a pod's namespace shall hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What the CNI plugin was told to open.
    attachments: Vec<Attachment>,
    /// The leaks that select the pod, the oldest first.
    pub leaks: Vec<WantedLeak>,
}

/// A leak as the `VrfGateNode` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedLeak {
    pub name: String,
    pub generation: i64,
    /// Or why this agent can't read it.
    pub parsed: Result<Leak, String>,
}

/// What can be in force together, and what can't.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    pub leaks: Vec<Leak>,
    /// Names of what was left out, and why.
    pub left_out: Vec<(String, String)>,
}

impl Wanted {
    /// Of the attachments of one namespace, and the pod as the `VrfGateNode` has it.
    pub fn new(attachments: &[Attachment], pod: Option<&GatePod>, leaks: &[Arc<GateLeak>]) -> Self {
        let names = pod.map_or(&[][..], |pod| &pod.leaks);
        let leaks = names
            .iter()
            .filter_map(|name| leaks.iter().find(|leak| leak.name == *name));
        Self {
            attachments: attachments.to_vec(),
            leaks: leaks.map(|leak| WantedLeak::new(leak)).collect(),
        }
    }

    /// For a namespace with these VRFs. Of what can't be in force together, the network configuration goes first,
    /// then the older leak.
    pub fn settle(&self, vrfs: &[VrfName]) -> Settled {
        let contradictions = left_out(&self.attachments, vrfs.iter().map(VrfName::as_str));
        let mut settled = Settled {
            leaks: Vec::new(),
            left_out: contradictions
                .iter()
                .map(|one| (one.later.to_string(), one.to_string()))
                .collect(),
        };
        for leak in self.leaks_of_attachments(vrfs) {
            settled.add(leak);
        }
        for leak in &self.leaks {
            match &leak.parsed {
                Ok(parsed) => settled.add(parsed.clone()),
                Err(why) => settled.left_out.push((leak.name.clone(), why.clone())),
            }
        }
        settled
    }

    /// One for each attachment and VRF that it is for, in the words of the plugin.
    fn leaks_of_attachments(&self, vrfs: &[VrfName]) -> Vec<Leak> {
        let named = self.attachments.iter();
        let named = named.filter_map(|one| one.vrf.as_ref()?.as_str().parse().ok());
        let all: BTreeSet<VrfName> = vrfs.iter().cloned().chain(named).collect();
        let leaks = all.iter().flat_map(|vrf| {
            let opened = opened(&self.attachments, vrf.as_str()).services.into_iter();
            // One that is for every VRF waits for none.
            let is_there = vrfs.contains(vrf);
            let opened = opened.filter(move |(attachment, _)| is_there || attachment.vrf.is_some());
            opened.filter_map(move |(attachment, services)| {
                Some(Leak {
                    name: attachment
                        .rules_name(vrf.as_str())
                        .parse::<LeakName>()
                        .ok()?,
                    vrf: vrf.clone(),
                    mode: Mode::Enforce,
                    routes: Vec::new(),
                    return_routes: Vec::new(),
                    replies: Replies::Route,
                    services: services.into_iter().filter_map(service).collect(),
                })
            })
        });
        leaks.collect()
    }
}

impl Settled {
    fn add(&mut self, leak: Leak) {
        let conflict = self
            .leaks
            .iter()
            .find_map(|earlier| first_conflict(earlier, &leak));
        match conflict {
            None => self.leaks.push(leak),
            Some(conflict) => self
                .left_out
                .push((leak.name.to_string(), conflict.to_string())),
        }
    }
}

impl WantedLeak {
    fn new(leak: &GateLeak) -> Self {
        let parsed = leak.parse().map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        });
        Self {
            name: leak.name.clone(),
            generation: leak.generation,
            parsed,
        }
    }
}

/// The plugin has checked all of it by the same rules.
fn service(service: &vrfgate_cni::Service) -> Option<Service> {
    let port = |number| NonZeroU16::new(number);
    let prefixes = |list: &[vrfgate_cni::Prefix]| -> Vec<Prefix> {
        list.iter()
            .filter_map(|prefix| Prefix::new((*prefix).into()).ok())
            .collect()
    };
    let ports = service.ports();
    let addresses = if service.addresses.is_empty() {
        ["0.0.0.0/0", "::/0"]
            .iter()
            .filter_map(|every| Prefix::new(every.parse().ok()?).ok())
            .collect()
    } else {
        prefixes(&service.addresses)
    };
    Some(Service {
        name: service.name.as_str().parse::<ServiceName>().ok()?,
        protocol: match service.protocol {
            vrfgate_ebpf::Protocol::Tcp => Protocol::Tcp,
            vrfgate_ebpf::Protocol::Udp => Protocol::Udp,
        },
        ports: PortRange::new(port(*ports.start())?, port(*ports.end())?)?,
        addresses,
        sources: prefixes(&service.sources),
    })
}
