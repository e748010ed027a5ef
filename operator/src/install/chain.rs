//! Our entry in the configuration list of a network.

use std::{
    fs::{self, File, Metadata},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::{
    Outcome,
    conflist::{Change, Conflist},
    entry::{Entry, TYPE},
    place::{Place, set_mode},
};

/// Endings of the files that runtimes read in a directory of configurations.
const LIST: &str = ".conflist";
const SINGLE: [&str; 2] = [".conf", ".json"];

/// How often to read a list again that another process writes at the same time.
const TRIES: usize = 5;

/// A network whose pods shall get the gate.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Name of the network.
    pub network: String,
    /// What shall be in its list.
    pub entry: Entry,
}

impl Chain {
    /// Makes the entry be in the list, which is one of those in `directory`. Changes nothing if it is, and without
    /// being allowed to.
    pub fn put_in(&self, directory: &Path, may_write: bool) -> anyhow::Result<Outcome> {
        if !directory.is_dir() {
            bail!(
                "{} is no directory; name the one where the container runtime of this node looks for networks",
                directory.display()
            );
        }
        // Removes what a killed installer has left, even where there is nothing else to do.
        drop(Place::enter(directory)?);
        for _ in 0..TRIES {
            let list = self.find(directory)?;
            let shown = list.path.display();
            let network = &self.network;
            let change = Conflist::parse(&list.text)
                .and_then(|conflist| conflist.with(&self.entry))
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("{shown}, the list of network {network}"))?;
            let (text, said) = match change {
                Change::None => {
                    let said = format!("our entry is in {shown} already, network {network}");
                    return Ok(Outcome::InPlace(said));
                }
                Change::ByHand => {
                    return Ok(Outcome::InPlace(format!(
                        "{shown}, network {network}, has an entry that somebody else wrote; it was left alone"
                    )));
                }
                Change::Add(text) => (
                    text,
                    format!("added our entry to {shown}, network {network}"),
                ),
                Change::Replace(text) => (
                    text,
                    format!("changed our entry in {shown}, network {network}"),
                ),
            };
            if !may_write {
                return Ok(Outcome::Missing);
            }
            if list.replace(&text)? {
                return Ok(Outcome::Written(said));
            }
        }
        bail!(
            "the list of network {} in {} changes each time it was read; try again",
            self.network,
            directory.display()
        )
    }

    /// As libcni finds it: the first list of this name, in the order of the files' names.
    fn find(&self, directory: &Path) -> anyhow::Result<List> {
        let network = &self.network;
        let mut others = Vec::new();
        for path in files(directory, &[LIST])? {
            let list = List::read(path)?;
            match Conflist::parse(&list.text) {
                Ok(conflist) if conflist.name.as_deref() == Some(network) => return Ok(list),
                Ok(conflist) => others.extend(conflist.name),
                // Half written, or not ours to correct.
                Err(why) => others.push(format!("{}, which {why}", list.path.display())),
            }
        }
        for path in files(directory, &SINGLE)? {
            if Single::read(&path)?.is_some_and(|single| single.name.as_ref() == Some(network)) {
                bail!(
                    "{} configures network {network} with a single plugin, behind which nothing can stand; make it \
                     a *{LIST} whose \"plugins\" are that one",
                    path.display()
                );
            }
        }
        let others = if others.is_empty() {
            "none yet".to_owned()
        } else {
            others.join(", ")
        };
        bail!(
            "no *{LIST} in {} is that of network {network} (there are: {others}); the primary CNI plugin brings it",
            directory.display()
        )
    }
}

/// Takes our entry out of the lists of a directory, or only out of those of one network. Returns a sentence for each step.
pub fn take_out(directory: &Path, network: Option<&str>) -> anyhow::Result<Vec<String>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    drop(Place::enter(directory)?);
    let mut said = Vec::new();
    for path in files(directory, &[LIST])? {
        for attempt in 1.. {
            let list = List::read(path.clone())?;
            let Some(text) = Conflist::parse(&list.text)
                .ok()
                .filter(|list| network.is_none() || list.name.as_deref() == network)
                .and_then(|list| list.without())
            else {
                break;
            };
            if list.replace(&text)? {
                said.push(format!("took our entry out of {}", path.display()));
                break;
            }
            if attempt == TRIES {
                bail!(
                    "{} changes each time it was read; try again",
                    path.display()
                );
            }
        }
    }
    Ok(said)
}

/// The first file in which a plugin of our type is still asked for.
pub fn user(directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !directory.is_dir() {
        return Ok(None);
    }
    for path in files(directory, &[LIST])? {
        let list = List::read(path)?;
        if Conflist::parse(&list.text).is_ok_and(|list| list.uses_us()) {
            return Ok(Some(list.path));
        }
    }
    for path in files(directory, &SINGLE)? {
        let single = Single::read(&path)?;
        if single.is_some_and(|single| single.plugin.as_deref() == Some(TYPE)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Files with these endings, in the order of their names.
fn files(directory: &Path, endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let ends = |ending: &&str| name.as_encoded_bytes().ends_with(ending.as_bytes());
            if endings.iter().any(ends) && !entry.file_type()?.is_dir() {
                files.push(entry.path());
            }
        }
        files.sort_unstable();
        Ok(files)
    };
    read().with_context(|| format!("reading the directory {}", directory.display()))
}

/// A file as it was at one moment.
struct List {
    path: PathBuf,
    text: Vec<u8>,
}

impl List {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { path, text })
    }

    /// Makes the file have another text; false if it isn't what it was when it was read.
    fn replace(&self, text: &str) -> anyhow::Result<bool> {
        // A link stays one.
        let target = fs::canonicalize(&self.path)
            .with_context(|| format!("following {}", self.path.display()))?;
        let place = Place::enter(target.parent().unwrap_or(Path::new("/")))?;
        let is =
            fs::metadata(&target).with_context(|| format!("looking at {}", target.display()))?;
        place.replace(&target, text.as_bytes(), |file| {
            dress(file, &is)
                .with_context(|| format!("keeping mode and owner of {}", target.display()))?;
            // As late as possible: other processes don't take our lock.
            Ok(fs::read(&target).is_ok_and(|now| now == self.text))
        })
    }
}

/// The mode and owner that another file has.
fn dress(file: &File, like: &Metadata) -> std::io::Result<()> {
    fchown(file, Some(like.uid()), Some(like.gid()))?;
    set_mode(file, like.permissions().mode() & 0o7777)
}

/// A network that is one plugin, as far as it concerns us.
#[derive(Deserialize)]
struct Single {
    name: Option<String>,
    #[serde(rename = "type")]
    plugin: Option<String>,
}

impl Single {
    /// `None` for what is no such thing.
    fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&text).ok())
    }
}
