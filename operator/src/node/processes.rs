//! Which process has a socket, by `/proc`.

use std::{collections::BTreeSet, fs, path::Path};

use crate::facts::Processes;

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
                let unit = unit_of(&process.path());
                let unit = unit.map_or_else(String::new, |unit| format!(" of {unit}"));
                // The first is the parent, where a server has handed its socket down.
                processes
                    .0
                    .entry(inode)
                    .or_insert_with(|| format!("{} (process {pid}{unit})", name.trim_end()));
            }
        }
        if processes.0.len() == sockets.len() {
            break;
        }
    }
    processes
}

/// The systemd service that a process belongs to, by its cgroup.
fn unit_of(process: &Path) -> Option<String> {
    service_in(&fs::read_to_string(process.join("cgroup")).ok()?)
}

/// Services may have groups of their own below them, and users have services below one of the system.
fn service_in(groups: &str) -> Option<String> {
    let service = |group: &str| group.ends_with(".service") && !group.starts_with("user@");
    let groups = groups.lines().flat_map(|line| line.rsplit('/'));
    groups.map(str::to_owned).find(|group| service(group))
}

/// `socket:[4711]`
fn socket_inode(link: &Path) -> Option<u32> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_of_the_service_whose_group_it_is_in() {
        for (groups, service) in [
            ("0::/system.slice/ssh.service\n", Some("ssh.service")),
            (
                "0::/system.slice/frr.service/payload\n",
                Some("frr.service"),
            ),
            (
                "4:cpu:/\n1:name=systemd:/system.slice/system-sshd.slice/sshd@7.service\n0::/\n",
                Some("sshd@7.service"),
            ),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/run.scope\n",
                None,
            ),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(service_in(groups).as_deref(), service, "{groups}");
        }
    }
}
