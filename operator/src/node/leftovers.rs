//! What gates of namespaces that are gone have left behind.

use tracing::{info, warn};
use vrfgate_ebpf::{Store, collect_orphans};

/// Removes it, and says so. Looks at every process of the machine, which may take a while: not to be done
/// where a gate waits.
pub fn collect_leftovers(store: &Store) {
    match collect_orphans(store) {
        Ok(gone) => {
            for id in gone {
                info!(
                    "removed what a gate had left of itself: its network namespace (inode {id}) is gone"
                );
            }
        }
        Err(error) => warn!("removing what gates of namespaces that are gone have left: {error}"),
    }
}
