//! What gates of namespaces that are gone have left: a pinned link outlives its namespace, and so do record
//! and report. Collected only where it is certain that the namespace is gone.
//!
//! The kernel reports no namespace for a link whose namespace is gone, and for one that somebody has detached. So
//! `/proc` is searched as well, for anything that is in a namespace of that number.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability};
use vrfgate_machine::{LockFile, is_shortage};

use crate::{
    Error, Netns, NetnsId, Store,
    error::Doing,
    pins::Pins,
    remains::{bury, is_orphan},
    sys,
    tracker::Tracker,
};

/// What has become of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is gone, and what a gate had left of itself is removed.
    Gone,
    /// No process or name is in it, and yet it exists: its gate was left alone. The kernel ends namespaces later; or
    /// a socket or a descriptor keeps this one.
    Ending,
    /// A process is in it, or manages its gate: its gate was left alone.
    Alive,
}

/// Removes what gates of namespaces that are gone have left. Returns which namespaces those were.
///
/// Where this process can't see all processes of the machine, nothing is removed.
pub fn collect_orphans(store: &Store) -> Result<Vec<NetnsId>, Error> {
    let traces = store
        .traces()
        .doing(|| format!("looking for gates in {}", store.bpffs().display()))?;
    if traces.is_empty() {
        return Ok(Vec::new());
    }
    let Some(living) = living().doing(|| "looking for network namespaces in /proc".into())? else {
        return Ok(Vec::new());
    };
    let mut collected = Vec::new();
    for id in traces {
        let gone = match living.get(&id) {
            Some(path) => bury_predecessor(store, id, path)?,
            None => collect_dead(store, id)? == Fate::Gone,
        };
        if gone {
            collected.push(id);
        }
    }
    Ok(collected)
}

/// As [`collect_orphans`], for one namespace whose gate the caller has held until a moment ago: a link that
/// belongs to no namespace now was not detached, but has lost it.
pub fn collect_orphan(store: &Store, id: NetnsId) -> Result<Fate, Error> {
    let fate = collect_dead(store, id)?;
    if fate == Fate::Ending {
        let living = living().doing(|| "looking for network namespaces in /proc".into())?;
        if living.is_some_and(|living| living.contains_key(&id)) {
            return Ok(Fate::Alive);
        }
    }
    Ok(fate)
}

/// Why the network namespaces of the machine can't be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// This process is in a PID namespace of its own.
    Elsewhere,
    /// The kernel hides the namespaces of other users' processes.
    Refused,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere => {
                "not all processes of the machine can be seen from here; run in its PID namespace \
                 (agent.hostPID in the Helm chart)"
            }
            Self::Refused => {
                "CAP_SYS_PTRACE is missing, which it takes to see in which namespaces the processes of others are \
                 (run as root, or grant it)"
            }
        })
    }
}

/// The network namespaces that something of this machine is in.
#[derive(Clone, Debug)]
pub struct LivingNetns(BTreeMap<NetnsId, PathBuf>);

impl LivingNetns {
    /// Those that there are now, where this process can see all processes of the machine.
    pub fn now() -> io::Result<Result<Self, Unseen>> {
        if !sees_all_processes()? {
            return Ok(Err(Unseen::Elsewhere));
        }
        // Asked of the kernel, not of the processes: it may hide some processes even from one that has the capability.
        let sees = caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_PTRACE)
            .map_err(io::Error::other)?;
        if !sees {
            return Ok(Err(Unseen::Refused));
        }
        Ok(living()?.map(Self).ok_or(Unseen::Elsewhere))
    }

    /// One of them, if it is there. An error means that this is unknown now: resources are short, or the process
    /// in it has ended meanwhile.
    pub fn find(&self, id: NetnsId, cookie: u64) -> io::Result<Option<Netns>> {
        let Some(path) = self.0.get(&id) else {
            return Ok(None);
        };
        let found = Netns::open_path(path)?;
        if found.id() != id {
            let why = format!("{} is in another network namespace now", path.display());
            return Err(io::Error::other(why));
        }
        Ok((found.cookie()? == cookie).then_some(found))
    }

    /// Whether a namespace is certainly not among them. Its number may have been given to another one, its cookie
    /// never is.
    #[must_use]
    pub fn lacks(&self, id: NetnsId, cookie: u64) -> bool {
        let Some(path) = self.0.get(&id) else {
            return true;
        };
        // One that ends meanwhile is found gone by the next call.
        Netns::open_path(path).is_ok_and(|netns| {
            netns.id() == id && netns.cookie().is_ok_and(|found| found != cookie)
        })
    }
}

/// The number may have been given to another namespace, which lives at `path`.
fn bury_predecessor(store: &Store, id: NetnsId, path: &Path) -> Result<bool, Error> {
    // Gone meanwhile, or of a process that we can't inspect: the next call tries again.
    let opened =
        unless_ended(Netns::open_path(path)).doing(|| format!("opening {}", path.display()))?;
    let Some(netns) = opened.filter(|netns| netns.id() == id) else {
        return Ok(false);
    };
    // Checked before the lock is taken: a process that starts to manage a gate must not find it locked by us.
    if !is_orphan(store, &netns)? {
        return Ok(false);
    }
    let Some(lock) = lock(store, id)? else {
        return Ok(false);
    };
    bury(store, &netns)?;
    release(store, lock)?;
    Ok(true)
}

fn collect_dead(store: &Store, id: NetnsId) -> Result<Fate, Error> {
    let pins = store.pins(id);
    if is_attached(&pins)? {
        return Ok(Fate::Ending);
    }
    let Some(lock) = lock(store, id)? else {
        return Ok(Fate::Alive);
    };
    // The lock's last holder may have attached a gate.
    let fate = if is_attached(&pins)? {
        Fate::Ending
    } else {
        pins.withdraw()
            .and_then(|()| pins.sweep())
            .and_then(|()| store.remove_files(id))
            .doing(|| format!("removing {}", pins.directory().display()))?;
        Tracker::forget(store, id)?;
        Fate::Gone
    };
    release(store, lock)?;
    Ok(fate)
}

fn lock(store: &Store, id: NetnsId) -> Result<Option<LockFile>, Error> {
    store
        .lock(id)
        .map(Result::ok)
        .doing(|| format!("locking a gate in {}", store.run_directory().display()))
}

fn release(store: &Store, lock: LockFile) -> Result<(), Error> {
    lock.remove()
        .doing(|| format!("unlocking a gate in {}", store.run_directory().display()))
}

fn is_attached(pins: &Pins) -> Result<bool, Error> {
    for link in [pins.gate().link, pins.guard().link] {
        let looking = || format!("looking at {}", link.display());
        match sys::open_pin(&link) {
            Ok(link) if sys::link_info(link.as_fd()).doing(looking)?.netns != 0 => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(looking),
        }
    }
    Ok(false)
}

/// Inode of the machine's first PID namespace (`PROC_PID_INIT_INO` of `<linux/proc_ns.h>`): its processes see
/// every process.
const ALL_PROCESSES: u64 = 0xEFFF_FFFC;

fn sees_all_processes() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino() == ALL_PROCESSES)
}

/// The network namespaces that a process or a name is in, and a path to each. `None` where not all processes are to be
/// found.
fn living() -> io::Result<Option<BTreeMap<NetnsId, PathBuf>>> {
    if !sees_all_processes()? {
        return Ok(None);
    }
    let mut living = BTreeMap::new();
    let mut mount_namespaces = HashSet::new();
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        if process
            .file_name()
            .is_none_or(|name| !name.as_encoded_bytes()[0].is_ascii_digit())
        {
            continue;
        }
        let threads = unless_ended(fs::read_dir(process.join("task")))?;
        for thread in threads.into_iter().flatten() {
            let Some(thread) = unless_ended(thread)? else {
                continue;
            };
            let path = thread.path().join("ns/net");
            let net = unless_ended(fs::metadata(&path))?;
            if let Some(id) = net.and_then(|net| inode(net.ino())) {
                living.entry(id).or_insert(path);
            }
        }
        let mounts = unless_ended(fs::metadata(process.join("ns/mnt")))?.map(|mnt| mnt.ino());
        if mounts.is_some_and(|mounts| mount_namespaces.insert(mounts)) {
            let table = unless_ended(fs::read_to_string(process.join("mountinfo")))?;
            let table = table.unwrap_or_default();
            for (id, mounted_at) in named(&table) {
                let seen_from_here = process
                    .join("root")
                    .join(mounted_at.trim_start_matches('/'));
                living.entry(id).or_insert(seen_from_here);
            }
        }
    }
    Ok(Some(living))
}

/// What can't be read belongs to a process that has ended, or is hidden from us; unless we are short of what reading
/// takes, which must not make a namespace count as gone.
fn unless_ended<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if is_shortage(&error) => Err(error),
        read => Ok(read.ok()),
    }
}

fn inode(number: u64) -> Option<NetnsId> {
    u32::try_from(number).ok().map(NetnsId)
}

/// Network namespaces that are mounted somewhere, as `ip netns` does: the fourth and fifth field of a line of
/// `proc_pid_mountinfo(5)`.
fn named(mountinfo: &str) -> impl Iterator<Item = (NetnsId, &str)> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let number = fields.next()?.strip_prefix("net:[")?.strip_suffix(']')?;
        Some((NetnsId(number.parse().ok()?), fields.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces_are_found_among_other_mounts() {
        let table = "\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
611 25 0:4 net:[4026532281] /run/netns/blue rw shared:339 - nsfs nsfs rw
612 25 0:4 mnt:[4026532282] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
";
        let found: Vec<_> = named(table).collect();
        assert_eq!(found, [(NetnsId(4_026_532_281), "/run/netns/blue")]);
    }
}
