//! A network namespace: how it is named, opened and entered.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

use vrfgate_core::NetnsId;
use vrfgate_machine::is_shortage;

/// Where `ip netns` keeps its names (ip-netns(8)).
const NAMED: &str = "/run/netns";
/// The namespace of the calling process.
const OWN: &str = "/proc/self/ns/net";

/// An open network namespace. It lives on for as long as this value does.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    id: NetnsId,
    path: PathBuf,
}

impl Netns {
    /// The namespace of this process.
    pub fn current() -> io::Result<Self> {
        Self::open_path(Path::new(OWN))
    }

    /// Opens a namespace by the name `ip netns` gave it, or by a path to it (anything with a `/`).
    pub fn open(name_or_path: &str) -> io::Result<Self> {
        if name_or_path.contains('/') {
            Self::open_path(Path::new(name_or_path))
        } else {
            Self::open_path(&Path::new(NAMED).join(name_or_path))
        }
    }

    pub(crate) fn open_path(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // Checked, because any file has an inode number, and a wrong one would name the wrong pins.
        let filesystem = nix::sys::statfs::fstatfs(&file)?.filesystem_type();
        if filesystem != nix::sys::statfs::NSFS_MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a namespace",
            ));
        }
        let id = u32::try_from(file.metadata()?.ino())
            .map(NetnsId)
            .map_err(io::Error::other)?;
        Ok(Self {
            file: Arc::new(file),
            id,
            path: path.to_owned(),
        })
    }

    /// The namespace's identity.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Whether the name or path that it was opened by still refers to it, if that is known. When not, the
    /// namespace is on its way out: it lives on only in what is inside, and in this value.
    #[must_use]
    pub fn is_named(&self) -> bool {
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        self.path == Path::new(OWN)
            || match (fs::metadata(&self.path), self.file.metadata()) {
                (Ok(named), Ok(ours)) => place(named) == place(ours),
                (Err(error), _) | (_, Err(error)) => is_shortage(&error),
            }
    }

    /// A number no other namespace has had or will have before the next boot.
    pub fn cookie(&self) -> io::Result<u64> {
        // Any socket does; this kind needs neither address nor interface.
        let socket = self.run(UnixDatagram::unbound)??;
        crate::sys::netns_cookie(socket.as_fd())
    }

    fn not_entered(&self, error: Errno) -> io::Error {
        if error == Errno::EPERM {
            let why = format!(
                "entering {self} takes CAP_SYS_ADMIN, which is missing (run as root, or grant it)"
            );
            return io::Error::new(io::ErrorKind::PermissionDenied, why);
        }
        error.into()
    }

    /// Runs `work` inside the namespace and returns what it returned.
    ///
    /// Entering changes a thread for good, so the work gets a thread of its own. Sockets opened in there
    /// stay in the namespace and may be returned.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        // Without this short cut, an agent in its own namespace would need CAP_SYS_ADMIN for nothing.
        if Self::current()?.id == self.id {
            return Ok(work());
        }
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)
                        .map_err(|error| self.not_entered(error))?;
                    Ok(work())
                })?;
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.strip_prefix(NAMED) {
            Ok(name) => write!(f, "network namespace {}", name.display()),
            Err(_) if self.path == Path::new(OWN) => f.write_str("this network namespace"),
            Err(_) => write!(f, "network namespace {}", self.path.display()),
        }
    }
}
