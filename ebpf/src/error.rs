//! Everything that can go wrong with a gate, in words that tell the reader what to do.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use vrfgate_core::RuleError;
use vrfgate_machine::is_shortage;

use crate::{
    Netns, RoomError, SharedPort,
    causes::{self, causes},
    preflight::Lack,
};

/// Why something could not be done to the gate of a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something the gate can't do without. Nothing was changed.
    #[error("this machine can't run the gate: {}", list(.0))]
    Unsupported(Vec<Lack>),

    /// Another process manages this gate. Nothing was changed.
    #[error("{netns}: process {holder} looks after its gate; stop that one first")]
    Busy {
        /// The namespace.
        netns: String,
        /// What the lock's holder wrote into it: its process number.
        holder: String,
    },

    /// The namespace has a gate already. Nothing was changed.
    #[error("{0} has a gate already")]
    AlreadyAttached(String),

    /// The pins were made by an earlier version, whose maps this one doesn't read. Nothing was changed.
    #[error(
        "{directory}: pinned with map layout {found}, of an earlier version; `vrfgate run` puts a gate of \
         this version in its place, `vrfgate clear` removes it"
    )]
    OldLayout {
        /// The pins.
        directory: PathBuf,
        /// Name of the layout that is there.
        found: String,
    },

    /// The pins were made by a later version, with another map layout. Nothing was changed.
    #[error(
        "{directory}: pinned with map layout {found} and this version of vrfgate knows {known} only; \
         use the version that made it, or run its `vrfgate clear` first"
    )]
    Layout {
        /// The pins.
        directory: PathBuf,
        /// Names of the layouts that are there.
        found: String,
        /// Name of the layout this version makes.
        known: String,
    },

    /// There are pins, but the kernel doesn't run the gate. Who may change the gate has set both sysctls to
    /// 0 by now; who only looks has not.
    #[error(
        "{netns}: the gate is pinned but not in force: {why}; `vrfgate run` puts in a new one, \
         `vrfgate clear` removes what is left"
    )]
    NotInForce {
        /// The namespace.
        netns: String,
        /// What was found.
        why: String,
    },

    /// `tcp_l3mdev_accept` would have to change while TCP ports are shared, and this kernel may crash of that. Nothing
    /// was changed.
    #[error(
        "{netns}: tcp_l3mdev_accept can't become {value}: a socket of a VRF and one of no VRF share TCP {}, and \
         this kernel may crash when it changes while they do (a bug of Linux 6.8 and later); stop one of the two, \
         or go ahead all the same with --accept-shared-ports", list(.shared)
    )]
    PortShared {
        /// The namespace.
        netns: String,
        /// What the sysctl would have become.
        value: u8,
        /// The ports and their sockets.
        shared: Vec<SharedPort>,
    },

    /// The rules contradict each other. What was in force stays in force.
    #[error(transparent)]
    Rules(#[from] RuleError),

    /// The rules don't fit. What was in force stays in force.
    #[error(transparent)]
    Room(#[from] RoomError),

    /// The kernel refused the BPF object.
    #[error("loading the gate's BPF program: {}; {}", causes(.0), advice(.0))]
    Load(EbpfError),

    /// The kernel refused the BPF program, or to attach it.
    #[error("attaching the gate's BPF program to {netns}: {}; {}", causes(.cause), advice(.cause))]
    Program {
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        cause: ProgramError,
    },

    /// The kernel refused to read or change a map.
    #[error("{doing} the gate's maps of {netns}: {}", causes(.cause))]
    Maps {
        /// `reading` and so on.
        doing: &'static str,
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        cause: MapError,
    },

    /// Any other refusal by the operating system.
    #[error("{doing}: {cause}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// The system's answer.
        cause: io::Error,
    },
}

impl Error {
    /// Whether the process or the machine is only short of something, such as descriptors: nothing is known then of
    /// what was looked at, and the same may succeed another time. See [`vrfgate_machine::is_shortage`].
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        let answer = match self {
            Self::Load(cause) => causes::answer(cause),
            Self::Program { cause, .. } => causes::answer(cause),
            Self::Maps { cause, .. } => causes::answer(cause),
            Self::Io { cause, .. } => Some(cause),
            Self::Unsupported(_)
            | Self::Busy { .. }
            | Self::AlreadyAttached(_)
            | Self::OldLayout { .. }
            | Self::Layout { .. }
            | Self::NotInForce { .. }
            | Self::PortShared { .. }
            | Self::Rules(_)
            | Self::Room(_) => None,
        };
        answer.is_some_and(is_shortage)
    }
}

/// What to do about a kernel that refuses.
fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    if causes::answer(error).is_some_and(is_shortage) {
        "this process or this machine is short of it, and the same may succeed later"
    } else {
        "`vrfgate doctor` tells what this kernel lacks"
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Adds to an I/O error what was being done.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|cause| Error::Io {
            doing: what(),
            cause,
        })
    }
}

pub(crate) fn map_error(doing: &'static str, netns: &Netns, cause: MapError) -> Error {
    Error::Maps {
        doing,
        netns: netns.to_string(),
        cause,
    }
}
