//! The desired state of one pod's namespace: its network configurations, and the leaks that select it. Pure.

use std::sync::Arc;

use vrfgate_core::{Attachment, Leak, VrfName, first_conflict, leaks_of, left_out};

use crate::api::{GateLeak, GatePod};

/// The desired state of a pod's namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What the network configurations open.
    attachments: Vec<Attachment>,
    /// The leaks that select the pod, the oldest first.
    pub leaks: Vec<WantedLeak>,
}

/// A leak of the `VrfGateNode`.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedLeak {
    pub name: String,
    pub generation: i64,
    /// Or why this agent can't parse it.
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
    /// From the attachments of one namespace, and its pod in the `VrfGateNode`.
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

    /// For a namespace with these VRFs. In a conflict, the network configuration precedes any leak, and the older leak
    /// the newer one.
    pub fn settle(&self, vrfs: &[VrfName]) -> Settled {
        let contradictions = left_out(&self.attachments, vrfs.iter().map(VrfName::as_str));
        let mut settled = Settled {
            leaks: Vec::new(),
            left_out: contradictions
                .iter()
                .map(|one| (one.later.to_string(), one.to_string()))
                .collect(),
        };
        for leak in leaks_of(&self.attachments, vrfs) {
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
