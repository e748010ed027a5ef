//! Where the tracker lives in bpffs: paths, and the order in which they appear.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use vrfgate_abi::LAYOUT;
use vrfgate_machine::create_directories;

use crate::{Store, layout::layout_name};

/// Names of the maps.
pub(super) const LISTENERS: &str = "listeners";
pub(super) const SOCKETS: &str = "sockets";
pub(super) const SLAVES: &str = "slaves";
pub(super) const NAMESPACES: &str = "namespaces";
pub(super) const MAPS: [&str; 4] = [LISTENERS, SOCKETS, SLAVES, NAMESPACES];

/// The pins of a machine's tracker.
#[derive(Clone, Debug)]
pub(crate) struct TrackerPins {
    root: PathBuf,
    directory: PathBuf,
}

impl TrackerPins {
    pub(super) fn of(store: &Store) -> Self {
        let root = store.pins_root();
        // Not a number: those are namespaces.
        let directory = root.join(format!("tracker-{}", layout_name(LAYOUT)));
        Self { root, directory }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn exist(&self) -> io::Result<bool> {
        self.directory.try_exists()
    }

    /// Whether all maps are there.
    pub(super) fn are_complete(&self) -> io::Result<bool> {
        for name in MAPS {
            if !self.map(name).try_exists()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An empty directory beside the final one, to pin maps in before they show.
    pub(super) fn stage(&self) -> io::Result<Self> {
        let mut name = self.directory.clone().into_os_string();
        name.push("-new");
        let staging = Self {
            root: self.root.clone(),
            directory: name.into(),
        };
        absent_is_fine(fs::remove_dir_all(&staging.directory))?;
        create_directories(&staging.directory)?;
        Ok(staging)
    }

    pub(super) fn publish(&self, staging: &Self) -> io::Result<()> {
        fs::rename(&staging.directory, &self.directory)
    }

    /// The links of a build's tracing programs.
    pub(super) fn links(&self, build: u64) -> PathBuf {
        self.directory.join(format!("links-{build:016x}"))
    }

    /// Whether there are links of any build.
    pub(super) fn have_links(&self) -> io::Result<bool> {
        match self.all_links() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            links => Ok(!links?.is_empty()),
        }
    }

    pub(super) fn stage_links(&self) -> io::Result<PathBuf> {
        let staging = self.directory.join("new");
        Self::discard_links(&staging)?;
        create_directories(&staging)?;
        Ok(staging)
    }

    pub(super) fn discard_links(links: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(links))
    }

    /// Makes staged links those of a build, and takes those of other builds away: both count at the same
    /// time, but each socket once.
    pub(super) fn publish_links(&self, staging: &Path, build: u64) -> io::Result<()> {
        let others = self.all_links()?;
        fs::rename(staging, self.links(build))?;
        others
            .iter()
            .try_for_each(|links| Self::discard_links(links))
    }

    /// Removes the tracker, and what a killed process left half made.
    pub(super) fn remove(&self) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(&self.directory))?;
        let mut staging = self.directory.clone().into_os_string();
        staging.push("-new");
        absent_is_fine(fs::remove_dir_all(PathBuf::from(staging)))
    }

    fn all_links(&self) -> io::Result<Vec<PathBuf>> {
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("links-") {
                links.push(entry.path());
            }
        }
        Ok(links)
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
