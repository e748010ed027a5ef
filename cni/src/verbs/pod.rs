//! The namespace of a pod, and the steps by which verbs change what is in force there.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tracing::{info, warn};
use vrfgate_core::{Attachment, Key};
use vrfgate_ebpf::{Fate, Netns, Store, collect_orphan};

use crate::{
    Attachments,
    agent::{self, AgentError, Event},
    config::Places,
    facts_of,
    force::bring_in_line,
    lock::NetnsLock,
    open_netns,
    protocol::{Code, Failure},
};

/// How long to wait for a gate that another process holds, if no agent does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a namespace whose name is gone.
const ENDING_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// How to ask an agent: [`agent::insist`], or [`agent::tell`] if there is no time left to wait.
pub(super) type Ask = fn(&Path, Event, &Attachment) -> Result<(), AgentError>;

/// Opens a namespace that the runtime names.
pub(super) fn open(path: &Path) -> Result<Netns, Failure> {
    let refuse = |why: &dyn Display| {
        Failure::new(
            Code::Environment,
            format!("CNI_NETNS: {}: {why}", path.display()),
        )
    };
    let text = path.to_str().ok_or_else(|| refuse(&"is not UTF-8"))?;
    let netns = Netns::open(text).map_err(|error| refuse(&error))?;
    // Only entering it shows whether it is a network namespace.
    netns.run(|| ()).map_err(|error| refuse(&error))?;
    Ok(netns)
}

/// An I/O failure, with what was being done.
pub(super) fn failed(doing: impl Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::new(Code::Io, format!("{doing}: {error}"))
}

/// The state that the plugin keeps on this machine.
pub(super) struct Machine {
    pub(super) store: Store,
    pub(super) attachments: Attachments,
    pub(super) agent_socket: PathBuf,
}

impl Machine {
    pub(super) fn of(places: &Places) -> Self {
        let store = places.store();
        Self {
            attachments: Attachments::of(&store),
            store,
            agent_socket: places.agent_socket(),
        }
    }

    /// The attachments of a namespace, by its cookie.
    pub(super) fn in_netns(&self, cookie: u64) -> Result<Vec<Attachment>, Failure> {
        let reading = failed(format!(
            "reading {}",
            self.attachments.directory().display()
        ));
        self.attachments.in_netns(cookie).map_err(reading)
    }

    /// Puts the attachments of a namespace into force, without `subject` if that is detached. If an agent holds the gate, asks the
    /// agent to do it.
    ///
    /// True if an agent did it.
    pub(super) fn settle(
        &self,
        netns: &Netns,
        _lock: &NetnsLock,
        event: Event,
        subject: &Attachment,
        ask: Ask,
    ) -> Result<bool, Failure> {
        let mut wanted = self.in_netns(subject.netns.cookie)?;
        if event == Event::Detached {
            wanted.retain(|attachment| attachment.key != subject.key);
        }
        let facts = facts_of(netns).map_err(failed(format!("asking for the links of {netns}")))?;
        let mut end = Instant::now() + BUSY_TIMEOUT;
        let mut asked = false;
        loop {
            match bring_in_line(&self.store, netns, &wanted, &facts) {
                Err(vrfgate_ebpf::Error::Busy { .. }) if !asked => {
                    asked = true;
                    match ask(&self.agent_socket, event, subject) {
                        Ok(()) => return Ok(true),
                        // The agent may be ending, and about to release the gate.
                        Err(AgentError::Missing { .. }) => end = Instant::now() + BUSY_TIMEOUT,
                        Err(refused @ AgentError::Refused { later, .. }) => {
                            let code = if later {
                                Code::TryAgainLater
                            } else {
                                Code::Agent
                            };
                            return Err(Failure::new(code, refused.to_string()));
                        }
                    }
                }
                Err(vrfgate_ebpf::Error::Busy { .. }) if Instant::now() < end => {
                    thread::sleep(RETRY_EVERY);
                }
                result => return result.map(|()| false).map_err(Failure::from),
            }
        }
    }

    /// Releases an attachment with everything that was made for it. Nothing of it is left, whatever there was before.
    pub(super) fn release(&self, key: &Key) -> Result<(), Failure> {
        let Some(subject) = self.to_release(key)? else {
            return Ok(());
        };
        let opened = open_netns(&subject.netns);
        let looking = failed(format!("opening {}", subject.netns.path.display()));
        let by_agent = if let Some(netns) = opened.map_err(looking)? {
            let lock = NetnsLock::take(&netns)?;
            self.settle(&netns, &lock, Event::Detached, &subject, agent::insist)?
        } else {
            self.collect(&subject)?;
            false
        };
        self.attachments
            .remove(key)
            .map_err(failed(format!("removing the record of {key}")))?;
        info!("detached {key}");
        if !by_agent {
            // An agent that doesn't hear it has nothing left to do.
            let _ = agent::tell(&self.agent_socket, Event::Detached, &subject);
        }
        Ok(())
    }

    /// The attachment to release, if it is recorded. A damaged record doesn't keep a pod from ending.
    fn to_release(&self, key: &Key) -> Result<Option<Attachment>, Failure> {
        let path = self.attachments.path(key);
        let reading = || failed(format!("reading {}", path.display()));
        let unreadable = match self.attachments.find(key) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                error
            }
            found => return found.map_err(reading()),
        };
        warn!(
            "{}: is unreadable, and is removed with its pod: {unreadable}",
            path.display()
        );
        let place = self.attachments.place(key).map_err(reading())?;
        let Some(netns) = place else {
            self.attachments.remove(key).map_err(reading())?;
            return Ok(None);
        };
        Ok(Some(Attachment {
            key: key.clone(),
            netns,
            pod: None,
            vrf: None,
            services: Vec::new(),
            addresses: Vec::new(),
        }))
    }

    /// Removes what is left of a gate whose namespace has lost its name.
    fn collect(&self, subject: &Attachment) -> Result<(), Failure> {
        let end = Instant::now() + ENDING_TIMEOUT;
        loop {
            match collect_orphan(&self.store, subject.netns.inode)? {
                Fate::Ending if Instant::now() < end => thread::sleep(RETRY_EVERY),
                Fate::Gone => return Ok(()),
                Fate::Ending | Fate::Alive => {
                    warn!(
                        "{} is gone, but something still uses its namespace; its gate stays in force",
                        subject.netns.path.display()
                    );
                    return Ok(());
                }
            }
        }
    }
}
