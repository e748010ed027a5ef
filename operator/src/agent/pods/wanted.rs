//! What one pod's namespace shall hold: what its network configurations say, and the leaks that select it. Pure.

use std::{num::NonZeroU16, sync::Arc};

use vrfgate_cni::Attachment;

use crate::{
    api::{GateLeak, GatePod},
    compile::{
        Leak, LeakName, Mode, PortRange, Prefix, Protocol, Replies, Service, ServiceName, VrfName,
        first_conflict,
    },
};

/// What a pod's namespace shall hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What the CNI plugin was told to open, an entry for each attachment.
    statics: Vec<Static>,
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

/// Services of an attachment.
#[derive(Clone, Debug, PartialEq)]
struct Static {
    /// Network and interface.
    name: String,
    /// `None`: every VRF of the namespace.
    vrf: Option<VrfName>,
    services: Vec<Service>,
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
            statics: attachments.iter().map(Static::new).collect(),
            leaks: leaks.map(|leak| WantedLeak::new(leak)).collect(),
        }
    }

    /// For a namespace with these VRFs. Of what can't be in force together, the network configuration goes first,
    /// then the older leak.
    pub fn settle(&self, vrfs: &[VrfName]) -> Settled {
        let mut settled = Settled::default();
        for entry in &self.statics {
            for leak in entry.leaks(vrfs) {
                settled.add(leak);
            }
        }
        for leak in &self.leaks {
            match &leak.parsed {
                Ok(parsed) => settled.add(parsed.clone()),
                Err(why) => settled.left_out.push((leak.name.clone(), why.clone())),
            }
        }
        settled
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

impl Static {
    fn new(attachment: &Attachment) -> Self {
        Self {
            name: format!(
                "cni.{}.{}",
                label(&attachment.key.network),
                label(&attachment.key.ifname)
            ),
            vrf: attachment
                .vrf
                .as_ref()
                .and_then(|vrf| vrf.as_str().parse().ok()),
            services: attachment.services.iter().filter_map(service).collect(),
        }
    }

    /// One leak for each VRF that it is for.
    fn leaks(&self, vrfs: &[VrfName]) -> Vec<Leak> {
        let leak = |name: String, vrf: &VrfName| {
            Some(Leak {
                name: name.parse::<LeakName>().ok()?,
                vrf: vrf.clone(),
                mode: Mode::Enforce,
                routes: Vec::new(),
                return_routes: Vec::new(),
                replies: Replies::Route,
                services: self.services.clone(),
            })
        };
        match &self.vrf {
            Some(vrf) => leak(self.name.clone(), vrf).into_iter().collect(),
            None => vrfs
                .iter()
                .filter_map(|vrf| leak(format!("{}.{}", self.name, label(vrf.as_str())), vrf))
                .collect(),
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

/// Names of devices and networks may hold what names of leaks may not.
fn label(name: &str) -> String {
    let legal = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    let label: String = name.chars().map(legal).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "x" } else { label }.to_owned()
}
