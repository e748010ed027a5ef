//! Locks that end with their process, however it ends (`flock(2)`).

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    ops::Deref,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::file::FILE_MODE;

/// How often a lock that somebody else has is asked for again.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// An open file or directory that nobody else has locked.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Locks a file, unless somebody else has; it is returned then.
    pub fn try_take(file: File) -> io::Result<Result<Self, File>> {
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(Err(file)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Locks a file once nobody else has it locked, for however long that takes.
    pub fn wait(file: File) -> io::Result<Self> {
        file.lock()?;
        Ok(Self { file })
    }

    /// As [`FileLock::wait`]; `None` when somebody else still has it locked at the end of `timeout`.
    pub fn wait_for(mut file: File, timeout: Duration) -> io::Result<Option<Self>> {
        let end = Instant::now() + timeout;
        loop {
            file = match Self::try_take(file)? {
                Ok(lock) => return Ok(Some(lock)),
                Err(_) if Instant::now() >= end => return Ok(None),
                Err(file) => file,
            };
            thread::sleep(RETRY_EVERY);
        }
    }
}

impl Deref for FileLock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for FileLock {
    /// Closing would do for a file that was opened for its lock. One with another descriptor would stay locked.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// A file that is there for its lock, and holds the process number of whoever has it.
#[derive(Debug)]
pub struct LockFile {
    lock: FileLock,
    path: PathBuf,
}

impl LockFile {
    /// Takes a lock, or says who has it.
    pub fn take(path: &Path) -> io::Result<Result<Self, String>> {
        loop {
            match FileLock::try_take(open(path)?)? {
                Ok(lock) => {
                    if let Some(lock) = Self::of(lock, path)? {
                        return Ok(Ok(lock));
                    }
                }
                Err(mut file) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    return Ok(Err(holder.trim().to_owned()));
                }
            }
        }
    }

    /// Takes a lock once nobody has it, for however long that takes.
    pub fn wait(path: &Path) -> io::Result<Self> {
        loop {
            if let Some(lock) = Self::of(FileLock::wait(open(path)?)?, path)? {
                return Ok(lock);
            }
        }
    }

    /// `None` when whoever held the lock before removed its file between our opening and our locking it.
    fn of(lock: FileLock, path: &Path) -> io::Result<Option<Self>> {
        let current = fs::metadata(path).ok().map(|metadata| metadata.ino());
        if current != Some(lock.metadata()?.ino()) {
            return Ok(None);
        }
        let mut file: &File = &lock;
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Some(Self {
            lock,
            path: path.to_owned(),
        }))
    }

    /// Releases the lock and leaves no file behind.
    pub fn remove(self) -> io::Result<()> {
        let Self { lock, path } = self;
        fs::remove_file(path)?;
        drop(lock);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
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
    use std::sync::atomic::{AtomicU32, Ordering};

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
                        let Ok(lock) = LockFile::take(&path).unwrap() else {
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
    fn a_lock_goes_although_its_file_is_still_open() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = File::open(directory.path()).unwrap();
        let lock = FileLock::wait(file.try_clone().unwrap()).unwrap();
        let other = File::open(directory.path()).unwrap();
        let other = FileLock::try_take(other).unwrap().unwrap_err();
        drop(lock);
        FileLock::try_take(other).unwrap().unwrap();
        drop(file);
    }
}
