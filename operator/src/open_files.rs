//! How many files this process may have open. Gates of pods take some each, and container runtimes hand out the soft
//! limit of an interactive shell.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Raises the soft limit to the hard one, and returns what it is now. It takes no privilege, and programs that can't
/// bear a high limit (`select(2)`) aren't among those that this one starts.
pub fn raise_limit() -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            warn!("asking how many files may be open: {error}");
            return u64::MAX;
        }
    };
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            warn!("raising the limit of open files from {soft} to {hard}: {error}");
            soft
        }
    }
}
