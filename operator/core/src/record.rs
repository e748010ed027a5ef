//! The record of an attachment: what the CNI plugin was asked for by the network configuration of one interface, and where.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Service, VrfName, services};

/// Identity of a network namespace: its inode number on nsfs, which names its pins too.
///
/// The kernel may give a number to a new namespace after the old one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetnsId(pub u32);

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What makes an attachment the one it is, says the CNI specification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Name of the network configuration.
    pub network: String,
    /// The container, which is a pod's sandbox in Kubernetes.
    pub container_id: String,
    /// The interface inside.
    pub ifname: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            network,
            container_id,
            ifname,
        } = self;
        write!(
            f,
            "{ifname} of container {container_id} in network {network}"
        )
    }
}

/// A pod, as the runtime of a Kubernetes node names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, which older runtimes don't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A network namespace, by everything it can be found or recognised by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsPlace {
    /// `CNI_NETNS` of the ADD.
    pub path: PathBuf,
    /// Its inode number, which names the pins.
    pub inode: NetnsId,
    /// Unique until the next boot.
    pub cookie: u64,
}

/// Content of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Which attachment it is.
    #[serde(flatten)]
    pub key: Key,
    /// The namespace it is in.
    pub netns: NetnsPlace,
    /// The pod that it belongs to, where a runtime has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// The VRF that its services are for; without it, every VRF of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<VrfName>,
    /// What its configuration opens. A record is held to the same rules as a configuration.
    #[serde(with = "services")]
    pub services: Vec<Service>,
    /// The addresses that its namespace had at ADD. Those that come later (SLAAC, DHCP) are for an agent to open. A record of
    /// an earlier release has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}
