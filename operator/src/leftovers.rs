//! What gates, and attachments of pods, have left behind whose namespaces are gone.

use std::{io, sync::Once};

use tracing::{info, warn};
use vrfgate_cni::{Attachments, open_netns};
use vrfgate_ebpf::{LivingNetns, Store, collect_orphans};

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
    let attachments = Attachments::of(store);
    if let Err(error) = collect_attachments(&attachments) {
        warn!(
            "removing records of pods that are gone from {}: {error}",
            attachments.directory().display()
        );
    }
}

/// That nothing is collected is said once, not every minute.
static BLIND: Once = Once::new();

/// A runtime that was killed, or off, may never say DEL for a pod that it has lost.
fn collect_attachments(attachments: &Attachments) -> io::Result<()> {
    let keys = attachments.keys()?;
    if keys.is_empty() {
        return Ok(());
    }
    let living = match LivingNetns::now()? {
        Ok(living) => living,
        Err(unseen) => {
            BLIND.call_once(|| warn!("what pods leave that vanish isn't removed: {unseen}"));
            return Ok(());
        }
    };
    for key in keys {
        let Some(netns) = attachments.place(&key)? else {
            continue;
        };
        if open_netns(&netns)?.is_none() && living.lacks(netns.inode, netns.cookie) {
            attachments.remove_if_in(&key, &netns)?;
            info!("removed the record of {key}: its network namespace is gone");
        }
    }
    Ok(())
}
