//! A directory that is shared with others, and files in it that are replaced at once.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use vrfgate_machine::FileLock;

/// No ending that a container runtime reads, and hidden: until it is renamed, it is nobody's.
const ASIDE: &str = ".vrfgate.new";

/// How long another installer may hold the lock; it copies one file.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A directory in which no other installer works while this value lives, nor after this process was killed.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// A lock on the directory itself needs no file of ours.
    directory: FileLock,
}

impl Place {
    /// Waits for others, and removes what one that was killed has left.
    pub fn enter(path: &Path) -> anyhow::Result<Self> {
        let place = Self {
            path: path.to_owned(),
            directory: lock(path).with_context(|| format!("locking {}", path.display()))?,
        };
        forget(&path.join(ASIDE))?;
        Ok(place)
    }

    /// Removes a file; it may be gone already.
    pub fn remove(&self, file: &Path) -> anyhow::Result<()> {
        forget(file)?;
        self.sync()
    }

    /// Makes `file`, which is in this directory, be this at once: whoever opens it has the old content or the new,
    /// and whoever executes the old goes on executing it.
    ///
    /// `dress` gives it its mode and owner. It may still call it off, by false, which is then returned.
    pub fn replace(
        &self,
        file: &Path,
        content: &[u8],
        dress: impl FnOnce(&File) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let aside = self.path.join(ASIDE);
        let ready = write(&aside, content)
            .with_context(|| format!("writing {}", aside.display()))
            // Takes it and closes it: what is open for writing can't be executed.
            .and_then(|written| dress(&written));
        let done = match ready {
            Ok(true) => fs::rename(&aside, file)
                .with_context(|| format!("renaming {} to {}", aside.display(), file.display()))
                .map(|()| true),
            other => other,
        };
        if !matches!(done, Ok(true)) {
            // Where this fails too, the next installer does it.
            let _ = forget(&aside);
            return done;
        }
        self.sync()?;
        Ok(true)
    }

    /// A machine that loses power finds what we said is there.
    fn sync(&self) -> anyhow::Result<()> {
        self.directory
            .sync_all()
            .with_context(|| format!("writing {} to disk", self.path.display()))
    }
}

/// Sets the mode of a file, whatever the umask is.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

fn write(aside: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

fn forget(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn lock(path: &Path) -> anyhow::Result<FileLock> {
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY)
        .open(path)?;
    FileLock::wait_for(directory, TIMEOUT)?
        .with_context(|| format!("another process has been working there for {TIMEOUT:?}"))
}
