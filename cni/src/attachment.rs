//! The record of an attachment: what the plugin was asked for, and where. One file for each, in the directory
//! `cni` of the run directory; it is there for as long as the attachment's rules are to be in force.
//!
//! The plugin writes and removes records, an agent reads them. Which namespace a record belongs to is told by the
//! namespace's cookie, because its path and its inode number may be given to another one.

use std::{
    fs::{self, DirBuilder},
    io,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tracing::warn;
use vrfgate_ebpf::{
    LivingNetns, Netns, NetnsId, Store, Unseen, is_shortage, remove_replaced, replace_file,
};

use crate::{Service, VrfName, config::check_services};

/// Only root and its group may look: records tell who may connect from where.
const DIRECTORY_MODE: u32 = 0o750;
/// Another process may remove the directory between our making it and our writing into it.
const TRIES: usize = 10;
const ENDING: &str = "json";

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

impl Key {
    /// No part of a key can hold a colon.
    fn file_name(&self) -> String {
        let Self {
            network,
            container_id,
            ifname,
        } = self;
        format!("{network}:{container_id}:{ifname}.{ENDING}")
    }

    fn of_file(path: &Path) -> Option<Self> {
        let mut parts = path.file_stem()?.to_str()?.split(':').map(str::to_owned);
        let key = Self {
            network: parts.next()?,
            container_id: parts.next()?,
            ifname: parts.next()?,
        };
        parts.next().is_none().then_some(key)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

impl NetnsPlace {
    /// Where this namespace is.
    pub fn of(netns: &Netns, path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            inode: netns.id(),
            cookie: netns.cookie()?,
        })
    }

    /// The namespace, for a process that need not see what the runtime sees: one in a container of its own has its own
    /// processes and its own directories. An error says that it can't be told now.
    pub fn find(&self, survey: &mut Survey) -> io::Result<Whereabouts> {
        if let Some(netns) = self.open()? {
            return Ok(Whereabouts::There(netns));
        }
        let living = match survey.get()? {
            Ok(living) => living,
            Err(unseen) if self.path.starts_with("/proc") => {
                return Ok(Whereabouts::Unseen(format!(
                    "the container runtime names its network namespace {}: {unseen}",
                    self.path.display()
                )));
            }
            Err(_) => return self.find_by_name(),
        };
        let found = living.find(self.inode, self.cookie)?;
        Ok(found.map_or(Whereabouts::Gone, Whereabouts::There))
    }

    /// What its name tells, where nobody has it and processes can't be looked at.
    fn find_by_name(&self) -> io::Result<Whereabouts> {
        let path = self.path.display();
        let directory = self.path.parent().unwrap_or(&self.path);
        // With nobody left to name anything, it is removed in some places, and no namespace is named in it.
        if !directory.try_exists()? {
            return Ok(Whereabouts::Unseen(format!(
                "the container runtime names its network namespace {path}, and there is no {} here (in the Helm chart, \
                 agent.pods.netnsDir says where the node keeps such names)",
                directory.display()
            )));
        }
        // A name is a file on which the namespace is mounted.
        if self.path.try_exists()? && self.named()?.is_none() {
            return Ok(Whereabouts::Unseen(format!(
                "the container runtime names its network namespace {path}, and here that is a file without a namespace: \
                 mounts of the node don't come through (the volume of {} needs mountPropagation: HostToContainer)",
                directory.display()
            )));
        }
        Ok(Whereabouts::Gone)
    }

    /// The namespace, unless it is gone from its path. An error says that this can't be told.
    pub fn open(&self) -> io::Result<Option<Netns>> {
        let named = self.named()?.filter(|(cookie, _)| *cookie == self.cookie);
        Ok(named.map(|(_, netns)| netns))
    }

    /// The namespace that has the path now, which may be another one, and its cookie.
    fn named(&self) -> io::Result<Option<(u64, Netns)>> {
        let Some(path) = self.path.to_str() else {
            return Ok(None);
        };
        match Netns::open(path).and_then(|netns| Ok((netns.cookie()?, netns))) {
            Ok(named) => Ok(Some(named)),
            Err(error) if is_shortage(&error) => Err(error),
            // Whatever is there now, it is no network namespace.
            Err(_) => Ok(None),
        }
    }
}

/// The network namespaces that there are, looked for when somebody asks for the first time: every process is looked at.
#[derive(Debug, Default)]
pub struct Survey(Option<Result<LivingNetns, Unseen>>);

impl Survey {
    fn get(&mut self) -> io::Result<&Result<LivingNetns, Unseen>> {
        let living = match self.0.take() {
            Some(living) => living,
            None => LivingNetns::now()?,
        };
        Ok(self.0.insert(living))
    }
}

/// Where a namespace is.
#[derive(Clone, Debug)]
pub enum Whereabouts {
    /// Here.
    There(Netns),
    /// Nowhere any more.
    Gone,
    /// Where this process can't look, as this says.
    Unseen(String),
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
    #[serde(deserialize_with = "checked_services")]
    pub services: Vec<Service>,
    /// The addresses that its namespace had at ADD. Those that come later (SLAAC, DHCP) are for an agent to open. A record of
    /// an earlier release has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

fn checked_services<'de, D: Deserializer<'de>>(record: D) -> Result<Vec<Service>, D::Error> {
    let services = Vec::deserialize(record)?;
    check_services(&services).map_err(D::Error::custom)?;
    Ok(services)
}

/// The records of a machine.
#[derive(Clone, Debug)]
pub struct Attachments {
    directory: PathBuf,
}

impl Attachments {
    /// Those beside a store's other files.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            directory: store.run_directory().join("cni"),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a record, in the place of the one that there may be.
    pub fn write(&self, attachment: &Attachment) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(attachment)?;
        let path = self.path(&attachment.key);
        let mut tries = TRIES;
        loop {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(&self.directory)?;
            match replace_file(&path, &text) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => tries -= 1,
                result => return result,
            }
        }
    }

    /// Removes a record, if it is there, and the directory with the last one.
    pub fn remove(&self, key: &Key) -> io::Result<()> {
        remove_replaced(&self.path(key))?;
        match fs::remove_dir(&self.directory) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Removes the record of an attachment in that namespace, unless one in another has taken its place.
    pub fn remove_if_in(&self, key: &Key, netns: &NetnsPlace) -> io::Result<()> {
        if self.place(key)?.as_ref() == Some(netns) {
            self.remove(key)?;
        }
        Ok(())
    }

    /// The namespace of an attachment, if its record tells as much. It need not be readable otherwise.
    pub fn place(&self, key: &Key) -> io::Result<Option<NetnsPlace>> {
        #[derive(Deserialize)]
        struct Place {
            netns: NetnsPlace,
        }
        let text = match fs::read(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let place = serde_json::from_slice::<Place>(&text);
        Ok(place.ok().map(|place| place.netns))
    }

    /// What there are records of, by their names: one that can't be read is there as well.
    pub fn keys(&self) -> io::Result<Vec<Key>> {
        let paths = self.records()?;
        let mut keys: Vec<Key> = paths.iter().filter_map(|path| Key::of_file(path)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The record of an attachment, if there is one.
    pub fn find(&self, key: &Key) -> io::Result<Option<Attachment>> {
        read(&self.path(key))
    }

    /// Every record that can be read, in order of their keys. Of others, the log tells: one broken file must not
    /// stop every pod of the machine. What can't be read only now is an error, because an attachment that is left out
    /// counts as gone.
    pub fn all(&self) -> io::Result<Vec<Attachment>> {
        let mut attachments = Vec::new();
        for path in self.records()? {
            match read(&path) {
                Ok(found) => attachments.extend(found),
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => warn!("{}: left out: {error}", path.display()),
            }
        }
        attachments.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(attachments)
    }

    fn records(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// The attachments of one namespace, by its cookie, in order of their keys.
    pub fn in_netns(&self, cookie: u64) -> io::Result<Vec<Attachment>> {
        let mut attachments = self.all()?;
        attachments.retain(|attachment| attachment.netns.cookie == cookie);
        Ok(attachments)
    }

    /// Where the record of an attachment is, or would be.
    #[must_use]
    pub fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(key.file_name())
    }
}

fn read(path: &Path) -> io::Result<Option<Attachment>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        // Also a name that is too long to be one of ours.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
