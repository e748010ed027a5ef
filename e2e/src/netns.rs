//! One named network namespace, as `ip netns` would make it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    panic,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";

/// A network namespace with a name; dropping it removes the name.
///
/// The kernel keeps the namespace for as long as a socket or a process is in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: File,
}

impl Netns {
    /// Makes a namespace that `ip netns` and `vrfgate --netns` know by `name`.
    pub fn create(name: String) -> io::Result<Self> {
        fs::create_dir_all(NAMES)?;
        let path = path_of(&name);
        File::create_new(&path)?;
        let handle = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                name_own(&path)
            });
            joined(made)
        });
        Self::named(name, handle)
    }

    /// Gives the namespace that this thread is in a name, as `ip netns attach` does.
    pub fn attach(name: String) -> io::Result<Self> {
        fs::create_dir_all(NAMES)?;
        let path = path_of(&name);
        File::create_new(&path)?;
        Self::named(name, name_own(&path))
    }

    fn named(name: String, handle: io::Result<File>) -> io::Result<Self> {
        match handle {
            Ok(handle) => Ok(Self { name, handle }),
            Err(error) => {
                fs::remove_file(path_of(&name))?;
                Err(error)
            }
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its inode number, by which the kernel and vrfgate know it.
    #[must_use]
    #[track_caller]
    pub fn inode(&self) -> u64 {
        let metadata = self.handle.metadata();
        metadata
            .unwrap_or_else(|error| panic!("looking at namespace {}: {error}", self.name))
            .ino()
    }

    /// Runs `work` inside. Sockets and processes made there stay there.
    ///
    /// A namespace belongs to a thread, so `work` gets a thread of its own and the caller's stays as it is.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                if let Err(error) = setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET) {
                    panic!("entering namespace {}: {error}", self.name);
                }
                work()
            });
            joined(inside)
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let path = path_of(&self.name);
        // Nothing can be done about a name that does not go away, and no other test has the same.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&path);
    }
}

/// Puts the name of this thread's namespace where `path` is.
fn name_own(path: &Path) -> io::Result<File> {
    let own = "/proc/thread-self/ns/net";
    mount(
        Some(own),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    File::open(path)
}

fn path_of(name: &str) -> PathBuf {
    Path::new(NAMES).join(name)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}
