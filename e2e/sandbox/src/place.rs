//! A namespace with a BPF file system and a directory.

use std::{
    fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::geteuid,
};
use tempfile::TempDir;

use crate::{Netns, detach_link};

/// A place where a test can do as it likes: a named namespace, and a directory with a BPF file system in `bpf`.
/// Everything goes away with the value.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    netns: Option<Netns>,
    directory: TempDir,
}

/// Makes names different.
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Sandbox {
    /// Makes one. The namespace's name contains `kind`.
    #[must_use]
    #[track_caller]
    pub fn new(kind: &str) -> Self {
        assert!(
            geteuid().is_root(),
            "this test makes network namespaces and attaches BPF programs to them: run it as root (`make test` does)"
        );
        let directory = TempDir::new().unwrap_or_else(|error| panic!("a directory: {error}"));
        let bpffs = directory.path().join("bpf");
        fs::create_dir(&bpffs).unwrap_or_else(|error| panic!("{}: {error}", bpffs.display()));
        let none = None::<&str>;
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), none)
            .unwrap_or_else(|error| panic!("mounting a BPF file system: {error}"));
        let mut sandbox = Self {
            name: numbered(&format!("vrfgate-{kind}-{}", process::id())),
            netns: None,
            directory,
        };
        sandbox.make_netns();
        sandbox
    }

    /// The namespace's name, also while it is lost.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    #[must_use]
    #[track_caller]
    pub fn netns(&self) -> &Netns {
        self.netns
            .as_ref()
            .unwrap_or_else(|| panic!("namespace {} is lost", self.name))
    }

    /// Takes the namespace's name away, as `ip netns del` does. Pins and files stay where they are.
    pub fn lose_netns(&mut self) {
        self.netns = None;
    }

    /// Makes a new namespace of the name of the one that is lost.
    #[track_caller]
    pub fn make_netns(&mut self) {
        assert!(self.netns.is_none(), "namespace {} is there", self.name);
        Netns::share_names().unwrap_or_else(|error| panic!("sharing names: {error}"));
        let made = Netns::create(self.name.clone());
        self.netns = Some(made.unwrap_or_else(|error| panic!("making a namespace: {error}")));
    }

    /// Goes on in a namespace that is new and has another number; the one before ends after it. Pins and files stay
    /// where they are.
    #[track_caller]
    pub fn move_to_new_netns(&mut self) {
        let before = self.netns.take();
        self.name = numbered(&self.name);
        self.make_netns();
        drop(before);
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the BPF file system is.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.path("bpf")
    }

    /// Where vrfgate is to keep its records. Whoever writes there first makes it.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// Where vrfgate pins what belongs to the namespace.
    #[must_use]
    #[track_caller]
    pub fn pins(&self) -> PathBuf {
        let id = self.netns().inode().to_string();
        self.bpffs().join("vrfgate").join(id)
    }

    /// As [`Netns::ip`].
    #[track_caller]
    pub fn ip(&self, commands: &str) {
        self.netns().ip(commands);
    }

    /// As [`Netns::l3mdev_accept`].
    #[must_use]
    #[track_caller]
    pub fn sysctls(&self) -> [bool; 2] {
        self.netns().l3mdev_accept()
    }

    /// As [`Netns::set_l3mdev_accept`].
    #[track_caller]
    pub fn set_sysctls(&self, values: [bool; 2]) {
        self.netns().set_l3mdev_accept(values);
    }

    /// Detaches both links of the gate by force.
    #[track_caller]
    pub fn detach_gate(&self) {
        for link in ["guard-link", "link"] {
            detach_link(&self.pins().join(link))
                .unwrap_or_else(|error| panic!("detaching {link}: {error}"));
        }
    }
}

fn numbered(name: &str) -> String {
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = umount2(&self.bpffs(), MntFlags::MNT_DETACH);
    }
}
