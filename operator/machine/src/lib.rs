//! What every program of vrfgate asks of the machine it runs on: files that are replaced at once, locks, memory, the
//! kernel's release, and which errors only say that something is short.
//!
//! Knows the C library and the file system. It must not know what vrfgate is for: nothing of BPF, netlink, namespaces
//! or Kubernetes.

mod file;
mod kernel;
mod lock;
mod shortage;
mod sys;

pub use file::{create_directories, remove_replaced, replace_file, restrict};
pub use kernel::{kernel_is_at_least, kernel_release};
pub use lock::{FileLock, LockFile};
pub use shortage::is_shortage;
pub use sys::release_free_memory;
