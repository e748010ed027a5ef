//! The pins of one gate: their paths, and the order in which they appear and go, so that a half-made or half-removed
//! gate is never taken for one. Knows nothing of what is pinned.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use vrfgate_abi::LAYOUT;
use vrfgate_machine::create_directories;

use crate::{
    NetnsId,
    layout::{self, layout_name},
};

/// The pins of one gate: `link` and `program` of the gate itself, the same of its guard, and the maps in a
/// directory named after their layout.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
    directory: PathBuf,
}

/// Where a program and the link that attaches it are pinned.
#[derive(Clone, Debug)]
pub(crate) struct AttachmentPins {
    pub(crate) link: PathBuf,
    pub(crate) program: PathBuf,
}

impl Pins {
    /// Pins of a namespace's gate, in the directory of all gates' pins.
    pub(crate) fn of(root: PathBuf, id: NetnsId) -> Self {
        let directory = root.join(id.to_string());
        Self { root, directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn exist(&self) -> io::Result<bool> {
        self.directory.try_exists()
    }

    /// Of the gate itself.
    pub(crate) fn gate(&self) -> AttachmentPins {
        self.attachment("link", "program")
    }

    pub(crate) fn guard(&self) -> AttachmentPins {
        self.attachment("guard-link", "guard-program")
    }

    fn attachment(&self, link: &str, program: &str) -> AttachmentPins {
        AttachmentPins {
            link: self.directory.join(link),
            program: self.directory.join(program),
        }
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(layout_name(LAYOUT)).join(name)
    }

    /// A pin that a gate of our layout has and this one has not.
    pub(crate) fn missing(&self) -> io::Result<Option<PathBuf>> {
        let maps = layout::maps().map(|name| self.map(name));
        let attachments = [self.gate(), self.guard()]
            .into_iter()
            .flat_map(|pins| [pins.link, pins.program]);
        for path in attachments.chain(maps) {
            if !path.try_exists()? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Whether everything is there that a gate of our layout has.
    pub(crate) fn intact(&self) -> io::Result<bool> {
        Ok(self.missing()?.is_none())
    }

    /// Layouts found beside the pinned link: one, unless another program has made more.
    pub(crate) fn layouts(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// An empty directory beside the final one, to build the pins in before they show.
    pub(crate) fn stage(&self) -> io::Result<Self> {
        create_directories(&self.root)?;
        let staging = self.aside("new");
        staging.remove()?;
        create_directories(&staging.directory.join(layout_name(LAYOUT)))?;
        Ok(staging)
    }

    /// Makes staged pins the namespace's own, at once.
    pub(crate) fn publish(&self, staging: Self) -> io::Result<()> {
        fs::rename(staging.directory, &self.directory)
    }

    /// As [`Pins::publish`], in the place of pins that show already; those are then among what
    /// [`Pins::sweep`] removes. There is no moment without pins. (bpffs exchanges names since Linux 5.16.)
    pub(crate) fn replace(&self, staging: &Self) -> io::Result<()> {
        renameat2(
            AT_FDCWD,
            &staging.directory,
            AT_FDCWD,
            &self.directory,
            RenameFlags::RENAME_EXCHANGE,
        )
        .map_err(io::Error::from)
    }

    /// Removes pins, so that a half-removed gate is never taken for one.
    pub(crate) fn withdraw(&self) -> io::Result<()> {
        let aside = self.aside("old");
        aside.remove()?;
        match fs::rename(&self.directory, &aside.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.and_then(|()| aside.remove()),
        }
    }

    /// Removes what a killed process left half made or half removed.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        self.aside("new").remove()?;
        self.aside("old").remove()
    }

    fn aside(&self, suffix: &str) -> Self {
        let mut name = self.directory.clone().into_os_string();
        // Not a dot: bpffs keeps those names for itself (bpf_lookup() in kernel/bpf/inode.c).
        name.push("-");
        name.push(suffix);
        Self {
            root: self.root.clone(),
            directory: name.into(),
        }
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}
