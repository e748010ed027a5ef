//! Records of attachments: what a network configuration asks for, and in which namespace. There is one file per attachment, in
//! the directory `cni` of the run directory, for as long as its rules are to be in force.
//!
//! The plugin writes and removes records, an agent reads them. The namespace's cookie identifies it, because its path and its
//! inode number may be used again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tracing::warn;
use vrfgate_core::{Attachment, Key, NetnsPlace};
use vrfgate_ebpf::{LivingNetns, Netns, Store, Unseen};
use vrfgate_machine::{create_directories, is_shortage, remove_replaced, replace_file};

/// Another process may remove the directory between our making it and our writing into it.
const TRIES: usize = 10;
const ENDING: &str = "json";

/// No part of a key can contain a colon.
fn file_name(key: &Key) -> String {
    let Key {
        network,
        container_id,
        ifname,
    } = key;
    format!("{network}:{container_id}:{ifname}.{ENDING}")
}

fn key_of(file: &Path) -> Option<Key> {
    let mut parts = file.file_stem()?.to_str()?.split(':').map(str::to_owned);
    let key = Key {
        network: parts.next()?,
        container_id: parts.next()?,
        ifname: parts.next()?,
    };
    parts.next().is_none().then_some(key)
}

/// The place of a namespace that `CNI_NETNS` names.
///
/// # Errors
///
/// The kernel doesn't give its cookie.
pub fn place_of(netns: &Netns, path: &Path) -> io::Result<NetnsPlace> {
    Ok(NetnsPlace {
        path: path.to_owned(),
        inode: netns.id(),
        cookie: netns.cookie()?,
    })
}

/// Looks for the namespace of an attachment, in a process that may not see what the runtime sees: in a container, it has processes
/// and directories of its own.
///
/// # Errors
///
/// It can't be determined now.
pub fn find_netns(place: &NetnsPlace, survey: &mut Survey) -> io::Result<Whereabouts> {
    if let Some(netns) = open_netns(place)? {
        return Ok(Whereabouts::There(netns));
    }
    let living = match survey.get()? {
        Ok(living) => living,
        Err(unseen) if place.path.starts_with("/proc") => {
            return Ok(Whereabouts::Unseen(format!(
                "the container runtime names its network namespace {}: {unseen}",
                place.path.display()
            )));
        }
        Err(_) => return find_by_name(place),
    };
    let found = living.find(place.inode, place.cookie)?;
    Ok(found.map_or(Whereabouts::Gone, Whereabouts::There))
}

/// Looks by name alone, if the namespace isn't at its path and processes can't be listed.
fn find_by_name(place: &NetnsPlace) -> io::Result<Whereabouts> {
    let path = place.path.display();
    let directory = place.path.parent().unwrap_or(&place.path);
    // Some systems remove the directory with the last name in it; then no namespace has a name here.
    if !directory.try_exists()? {
        return Ok(Whereabouts::Unseen(format!(
            "the container runtime names its network namespace {path}, and there is no {} here (in the Helm chart, \
             agent.pods.netnsDir says where the node keeps such names)",
            directory.display()
        )));
    }
    // A name is a file with the namespace mounted on it.
    if place.path.try_exists()? && named(place)?.is_none() {
        return Ok(Whereabouts::Unseen(format!(
            "the container runtime names its network namespace {path}, and here that is a file without a namespace: \
             mounts of the node don't come through (the volume of {} needs mountPropagation: HostToContainer)",
            directory.display()
        )));
    }
    Ok(Whereabouts::Gone)
}

/// The namespace of an attachment, if it is still at its path.
///
/// # Errors
///
/// It can't be determined now.
pub fn open_netns(place: &NetnsPlace) -> io::Result<Option<Netns>> {
    let named = named(place)?.filter(|(cookie, _)| *cookie == place.cookie);
    Ok(named.map(|(_, netns)| netns))
}

/// The namespace that is at the path now, possibly another one, and its cookie.
fn named(place: &NetnsPlace) -> io::Result<Option<(u64, Netns)>> {
    let Some(path) = place.path.to_str() else {
        return Ok(None);
    };
    match Netns::open(path).and_then(|netns| Ok((netns.cookie()?, netns))) {
        Ok(named) => Ok(Some(named)),
        Err(error) if is_shortage(&error) => Err(error),
        // Whatever is there, it is no network namespace.
        Err(_) => Ok(None),
    }
}

/// The network namespaces of the machine. They are listed on first use, which reads every process.
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
    /// It doesn't exist any more.
    Gone,
    /// This process can't see it, for this reason.
    Unseen(String),
}

/// The records of a machine.
#[derive(Clone, Debug)]
pub struct Attachments {
    directory: PathBuf,
}

impl Attachments {
    /// The records beside the other files of a store.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            directory: store.run_directory().join("cni"),
        }
    }

    /// Their directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a record, and replaces an older one.
    ///
    /// # Errors
    ///
    /// The file or its directory can't be written.
    pub fn write(&self, attachment: &Attachment) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(attachment)?;
        let path = self.path(&attachment.key);
        let mut tries = TRIES;
        loop {
            create_directories(&self.directory)?;
            match replace_file(&path, &text) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => tries -= 1,
                result => return result,
            }
        }
    }

    /// Removes a record, if it exists, and the directory with the last one.
    ///
    /// # Errors
    ///
    /// The file can't be removed.
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

    /// Removes the record of an attachment, unless the attachment is in another namespace by now.
    ///
    /// # Errors
    ///
    /// The file can't be read or removed.
    pub fn remove_if_in(&self, key: &Key, netns: &NetnsPlace) -> io::Result<()> {
        if self.place(key)?.as_ref() == Some(netns) {
            self.remove(key)?;
        }
        Ok(())
    }

    /// The namespace in an attachment's record, even if the rest of the record is unreadable.
    ///
    /// # Errors
    ///
    /// The file can't be read.
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

    /// The keys of all records, by their files' names, unreadable ones included.
    ///
    /// # Errors
    ///
    /// The directory can't be read.
    pub fn keys(&self) -> io::Result<Vec<Key>> {
        let paths = self.records()?;
        let mut keys: Vec<Key> = paths.iter().filter_map(|path| key_of(path)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The record of an attachment, if there is one.
    ///
    /// # Errors
    ///
    /// It can't be read, or is no record.
    pub fn find(&self, key: &Key) -> io::Result<Option<Attachment>> {
        read(&self.path(key))
    }

    /// All readable records, sorted by key. The log names the others: one broken file must not stop every pod of the machine.
    ///
    /// # Errors
    ///
    /// A record can't be read for now, for want of memory or descriptors. It is not left out, because it would count as released.
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

    /// The attachments of one namespace, by its cookie, sorted by key.
    ///
    /// # Errors
    ///
    /// As of [`Self::all`].
    pub fn in_netns(&self, cookie: u64) -> io::Result<Vec<Attachment>> {
        let mut attachments = self.all()?;
        attachments.retain(|attachment| attachment.netns.cookie == cookie);
        Ok(attachments)
    }

    /// The path of an attachment's record, whether it exists or not.
    #[must_use]
    pub fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(file_name(key))
    }
}

fn read(path: &Path) -> io::Result<Option<Attachment>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        // A name that is too long can't be a record's, either.
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
