//! Which process has a socket: what `/proc` tells whoever may read it.

use std::{collections::BTreeSet, fs, path::Path};

use crate::explain::Processes;

/// Names of the processes that hold sockets with these inodes. A process that ends meanwhile, or that may not
/// be looked into, is left out.
#[must_use]
pub fn of(sockets: &BTreeSet<u32>) -> Processes {
    let mut processes = Processes::default();
    if sockets.is_empty() {
        return processes;
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return processes;
    };
    for process in entries.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let inode = fs::read_link(descriptor.path())
                .ok()
                .and_then(|target| socket_inode(&target));
            if let Some(inode) = inode.filter(|inode| sockets.contains(inode)) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                // The first is the parent, where a server has handed its socket down.
                processes
                    .0
                    .entry(inode)
                    .or_insert_with(|| format!("{} (process {pid})", name.trim_end()));
            }
        }
        if processes.0.len() == sockets.len() {
            break;
        }
    }
    processes
}

/// `socket:[4711]`
fn socket_inode(link: &Path) -> Option<u32> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}
