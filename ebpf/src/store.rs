//! Where the state of gates lives: pins on bpffs, records and locks in the run directory. Owns the paths; knows nothing
//! of what is in the files.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use vrfgate_machine::{LockFile, create_directories};

use crate::{NetnsId, pins::Pins};

/// `BPF_FS_MAGIC` of `<linux/magic.h>`.
const BPF_FS_MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0xcafe_4a11);

/// The two directories that hold everything a gate needs to outlive its process.
#[derive(Clone, Debug)]
pub struct Store {
    bpffs: PathBuf,
    run: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self::new("/sys/fs/bpf", "/run/vrfgate")
    }
}

impl Store {
    /// State under the mount point `bpffs` (in a directory `vrfgate`) and in the directory `run`.
    pub fn new(bpffs: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            bpffs: bpffs.into(),
            run: run.into(),
        }
    }

    /// Mount point of bpffs.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// The run directory.
    #[must_use]
    pub fn run_directory(&self) -> &Path {
        &self.run
    }

    /// Whether a BPF file system is mounted where pins are to live.
    pub(crate) fn is_bpffs(&self) -> io::Result<bool> {
        match nix::sys::statfs::statfs(&self.bpffs) {
            Ok(statfs) => Ok(statfs.filesystem_type() == BPF_FS_MAGIC),
            Err(nix::Error::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Namespaces that have pins, in order of their identity. Some may be gone already.
    pub fn namespaces(&self) -> io::Result<Vec<NetnsId>> {
        let entries = match fs::read_dir(self.pins_root()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            ids.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                    .map(NetnsId),
            );
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Namespaces that have anything at all here, be it half removed, in order of their identity.
    pub(crate) fn traces(&self) -> io::Result<BTreeSet<NetnsId>> {
        let mut ids = BTreeSet::new();
        for directory in [&self.pins_root(), &self.run] {
            let entries = match fs::read_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                ids.extend(owner(&entry?.file_name()));
            }
        }
        Ok(ids)
    }

    /// Removes every file of a namespace in the run directory, but for its lock: its record, and what others keep
    /// beside it.
    pub fn remove_files(&self, id: NetnsId) -> io::Result<()> {
        let lock = self.lock_path(id);
        for entry in fs::read_dir(&self.run)? {
            let entry = entry?;
            if owner(&entry.file_name()) == Some(id) && entry.path() != lock {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the directory of all gates' pins, unless there are any. For uninstallation.
    pub fn remove_empty_pins(&self) -> io::Result<()> {
        match fs::remove_dir(self.pins_root()) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn make_run_directory(&self) -> io::Result<()> {
        create_directories(&self.run)
    }

    /// Pins of a namespace's gate.
    pub(crate) fn pins(&self, id: NetnsId) -> Pins {
        Pins::of(self.pins_root(), id)
    }

    /// The file that holds what BPF can't.
    pub(crate) fn record(&self, id: NetnsId) -> PathBuf {
        self.run.join(format!("{id}.json"))
    }

    /// Path of a file of the namespace with another ending, for programs that keep more about a gate.
    #[must_use]
    pub fn companion(&self, id: NetnsId, ending: &str) -> PathBuf {
        self.run.join(format!("{id}.{ending}"))
    }

    /// Takes the namespace's lock, or returns who has it.
    pub(crate) fn lock(&self, id: NetnsId) -> io::Result<Result<LockFile, String>> {
        self.make_run_directory()?;
        LockFile::take(&self.lock_path(id))
    }

    fn lock_path(&self, id: NetnsId) -> PathBuf {
        self.run.join(format!("{id}.lock"))
    }

    /// Waits for the lock of what all gates share. Its holders need it only briefly.
    pub(crate) fn tracker_lock(&self) -> io::Result<LockFile> {
        self.make_run_directory()?;
        LockFile::wait(&self.tracker_lock_path())
    }

    /// Whether that lock's file exists.
    pub(crate) fn has_tracker_lock(&self) -> io::Result<bool> {
        self.tracker_lock_path().try_exists()
    }

    fn tracker_lock_path(&self) -> PathBuf {
        self.run.join("tracker.lock")
    }

    pub(crate) fn pins_root(&self) -> PathBuf {
        self.bpffs.join("vrfgate")
    }
}

/// The namespace that an entry of one of the two directories belongs to: all their names begin with its number.
fn owner(name: &OsStr) -> Option<NetnsId> {
    let name = name.to_str()?;
    let number = name.split(['.', '-']).next()?;
    number.parse().ok().map(NetnsId)
}
