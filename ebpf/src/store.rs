//! Where the state of gates lives: pins on bpffs, records and locks in the run directory. Owns paths,
//! permissions and the order in which files appear; knows nothing of what is in them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use vrfgate_abi::LAYOUT;

use crate::NetnsId;

const DIRECTORY_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

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

    /// Removes the directory of all gates' pins, unless there are any. For who leaves the machine for good.
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
        Pins {
            root: self.pins_root(),
            directory: self.pins_root().join(id.to_string()),
        }
    }

    /// The file that holds what BPF can't.
    pub(crate) fn record(&self, id: NetnsId) -> PathBuf {
        self.run.join(format!("{id}.json"))
    }

    /// Path of a file of the namespace with another ending, for those who keep more about a gate.
    #[must_use]
    pub fn companion(&self, id: NetnsId, ending: &str) -> PathBuf {
        self.run.join(format!("{id}.{ending}"))
    }

    /// Takes the namespace's lock, or says who has it.
    pub(crate) fn lock(&self, id: NetnsId) -> io::Result<Result<Lock, String>> {
        self.make_run_directory()?;
        Lock::take(&self.lock_path(id))
    }

    fn lock_path(&self, id: NetnsId) -> PathBuf {
        self.run.join(format!("{id}.lock"))
    }

    /// Takes the lock of what all gates share, when its holder has done its short work.
    pub(crate) fn tracker_lock(&self) -> io::Result<Lock> {
        self.make_run_directory()?;
        Lock::wait(&self.tracker_lock_path())
    }

    /// Whether anybody ever took that lock, and nobody removed it since.
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
        let maps = crate::maps::ALL.iter().map(|name| self.map(name));
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

    /// Layouts found beside the pinned link: one, unless somebody else was here.
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

/// The namespace that an entry of one of the two directories belongs to: all their names begin with its number.
fn owner(name: &OsStr) -> Option<NetnsId> {
    let name = name.to_str()?;
    let number = name.split(['.', '-']).next()?;
    number.parse().ok().map(NetnsId)
}

/// Name of the directory that holds maps of a layout.
pub(crate) fn layout_name(layout: u32) -> String {
    format!("v{layout}")
}

/// Whether a directory is that of a layout before ours.
pub(crate) fn is_older(name: &str) -> bool {
    name.strip_prefix('v')
        .and_then(|number| number.parse::<u32>().ok())
        .is_some_and(|layout| layout < LAYOUT)
}

/// Only root and its group may look: the maps tell who may connect from where.
pub(crate) fn restrict(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(FILE_MODE))
}

pub(crate) fn create_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
}

/// Replaces a file at once: readers see the old content or the new, a crash leaves one of the two.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&aside)?;
    file.write_all(content)?;
    fs::rename(aside, path)
}

/// Removes a file that [`replace_file`] wrote, and what a killed process left of its successor.
pub fn remove_replaced(path: &Path) -> io::Result<()> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".new");
    for path in [path, Path::new(&aside)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Held by the one process that may change a namespace's gate. Released when the process ends, however.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Flock<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes a lock, or says who has it.
    fn take(path: &Path) -> io::Result<Result<Self, String>> {
        loop {
            let file = match Flock::lock(open_lock(path)?, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, nix::Error::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    return Ok(Err(holder.trim().to_owned()));
                }
                Err((_, error)) => return Err(error.into()),
            };
            if let Some(lock) = Self::of(file, path)? {
                return Ok(Ok(lock));
            }
        }
    }

    /// Takes a lock once nobody has it.
    fn wait(path: &Path) -> io::Result<Self> {
        loop {
            let file = Flock::lock(open_lock(path)?, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)?;
            if let Some(lock) = Self::of(file, path)? {
                return Ok(lock);
            }
        }
    }

    /// `None` when whoever held the lock before removed its file between our opening and our locking it.
    fn of(mut file: Flock<File>, path: &Path) -> io::Result<Option<Self>> {
        let current = fs::metadata(path).ok().map(|metadata| metadata.ino());
        if current != Some(file.metadata()?.ino()) {
            return Ok(None);
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Some(Self {
            file,
            path: path.to_owned(),
        }))
    }

    /// Releases the lock and leaves no file behind.
    pub(crate) fn remove(self) -> io::Result<()> {
        let Self { file, path } = self;
        fs::remove_file(path)?;
        drop(file);
        Ok(())
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn a_lock_has_one_holder_however_often_its_file_goes_and_comes_back() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("1.lock");
        let holders = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        let Ok(lock) = Lock::take(&path).unwrap() else {
                            continue;
                        };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                        lock.remove().unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_never_written_in_place() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("record");
        replace_file(&path, b"old").unwrap();
        let mut reader = File::open(&path).unwrap();
        replace_file(&path, b"new").unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "old", "a reader saw a file that was being written");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
