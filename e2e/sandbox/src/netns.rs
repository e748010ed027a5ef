//! One named network namespace, as `ip netns` would make it: entered, asked and configured.

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
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{ip, sys};

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// The switches that vrfgate opens.
const SYSCTLS: [&str; 2] = ["net.ipv4.tcp_l3mdev_accept", "net.ipv4.udp_l3mdev_accept"];

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

    /// Has names that are taken away disappear from other mount namespaces as well, as `ip netns add` does: what a
    /// process has a mount of lives on.
    pub fn share_names() -> io::Result<()> {
        fs::create_dir_all(NAMES)?;
        let _lock =
            Flock::lock(File::open(NAMES)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let none = None::<&str>;
        let share = || {
            mount(
                none,
                NAMES,
                none,
                MsFlags::MS_SHARED | MsFlags::MS_REC,
                none,
            )
        };
        match share() {
            // It is no mount point yet.
            Err(Errno::EINVAL) => {
                mount(
                    Some(NAMES),
                    NAMES,
                    none,
                    MsFlags::MS_BIND | MsFlags::MS_REC,
                    none,
                )?;
                share()?;
            }
            other => other?,
        }
        Ok(())
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

    /// The path that its name stands for.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
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

impl Netns {
    /// Brings a device up, without a process.
    #[track_caller]
    pub fn bring_up(&self, device: &str) {
        self.enter(|| sys::bring_up(device))
            .unwrap_or_else(|error| panic!("bringing {device} up: {error}"));
    }

    /// Runs commands of ip(8), one a line and without the word `ip`.
    #[track_caller]
    pub fn ip(&self, commands: &str) {
        self.try_ip(commands)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// As [`Netns::ip`], where the kernel may say no.
    pub fn try_ip(&self, commands: &str) -> io::Result<()> {
        ip::batch(self, commands)
    }

    /// What one command of ip(8) prints.
    pub fn ip_shows(&self, command: &str) -> io::Result<String> {
        ip::query(self, command)
    }

    /// Value of a sysctl, such as `net.ipv4.tcp_l3mdev_accept`.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        let value = self.enter(|| fs::read_to_string(sysctl_path(name)))?;
        Ok(value.trim_end().to_owned())
    }

    /// Sets a sysctl.
    #[track_caller]
    pub fn set_sysctl(&self, name: &str, value: &str) {
        self.enter(|| fs::write(sysctl_path(name), value))
            .unwrap_or_else(|error| panic!("writing {value} to {name}: {error}"));
    }

    /// Whether `tcp_l3mdev_accept` and `udp_l3mdev_accept` are 1.
    #[must_use]
    #[track_caller]
    pub fn l3mdev_accept(&self) -> [bool; 2] {
        SYSCTLS.map(|name| {
            let value = self.sysctl(name);
            value.unwrap_or_else(|error| panic!("reading {name}: {error}")) == "1"
        })
    }

    /// Sets `tcp_l3mdev_accept` and `udp_l3mdev_accept`.
    #[track_caller]
    pub fn set_l3mdev_accept(&self, values: [bool; 2]) {
        for (name, value) in SYSCTLS.into_iter().zip(values) {
            self.set_sysctl(name, if value { "1" } else { "0" });
        }
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

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}
