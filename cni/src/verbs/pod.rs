//! One pod's namespace, and the steps of changing what is in force there.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tracing::{info, warn};
use vrfgate_ebpf::{Fate, Netns, Store, collect_orphan};

use crate::{
    Attachment, Attachments, Facts, Key,
    agent::{self, AgentError, Event},
    config::Places,
    force::bring_in_line,
    lock::NetnsLock,
    protocol::{Code, Failure},
};

/// How long to try for a gate that another process holds, which isn't an agent.
const BUSY: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a namespace whose name is gone.
const ENDING: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How an agent is asked: [`agent::insist`], or [`agent::tell`] where nobody can wait any longer.
pub(super) type Ask = fn(&Path, Event, &Attachment) -> Result<(), AgentError>;

/// A namespace that the runtime names.
pub(super) fn open(path: &Path) -> Result<Netns, Failure> {
    let refuse = |why: &dyn Display| {
        Failure::new(
            Code::Environment,
            format!("CNI_NETNS: {}: {why}", path.display()),
        )
    };
    let text = path.to_str().ok_or_else(|| refuse(&"is not UTF-8"))?;
    let netns = Netns::open(text).map_err(|error| refuse(&error))?;
    // It may be a namespace of another kind: only entering it tells.
    netns.run(|| ()).map_err(|error| refuse(&error))?;
    Ok(netns)
}

/// Says what was being done when a system call failed.
pub(super) fn failed(doing: impl Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::new(Code::Io, format!("{doing}: {error}"))
}

/// What the plugin works with on this machine.
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

    /// Has the attachments of a namespace in force, but for one that is leaving. What a process holds that looks
    /// after the gate, that process is asked to do.
    ///
    /// True when it was an agent that did it.
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
        let facts = Facts::of(netns).map_err(failed(format!("asking for the links of {netns}")))?;
        let mut end = Instant::now() + BUSY;
        let mut asked = false;
        loop {
            match bring_in_line(&self.store, netns, &wanted, &facts) {
                Err(vrfgate_ebpf::Error::Busy { .. }) if !asked => {
                    asked = true;
                    match ask(&self.agent_socket, event, subject) {
                        Ok(()) => return Ok(true),
                        // It may just be leaving, and let go of the gate.
                        Err(AgentError::Missing { .. }) => end = Instant::now() + BUSY,
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
                    thread::sleep(ASK_EVERY);
                }
                result => return result.map(|()| false).map_err(Failure::from),
            }
        }
    }

    /// Takes an attachment away with everything that was made for it. Nothing of it is there afterwards, whatever
    /// was there before.
    pub(super) fn release(&self, key: &Key) -> Result<(), Failure> {
        let Some(subject) = self.leaving(key)? else {
            return Ok(());
        };
        let opened = subject.netns.open();
        let looking = failed(format!("opening {}", subject.netns.path.display()));
        let told = if let Some(netns) = opened.map_err(looking)? {
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
        if !told {
            // Nothing is left to be done about it.
            let _ = agent::tell(&self.agent_socket, Event::Detached, &subject);
        }
        Ok(())
    }

    /// What is to leave, if it is recorded. A record that somebody has spoilt doesn't keep a pod from going.
    fn leaving(&self, key: &Key) -> Result<Option<Attachment>, Failure> {
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
            "{}: is no record any more, and goes with its pod: {unreadable}",
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

    /// Removes what is left of the gate of a namespace whose name is gone.
    fn collect(&self, subject: &Attachment) -> Result<(), Failure> {
        let end = Instant::now() + ENDING;
        loop {
            match collect_orphan(&self.store, subject.netns.inode)? {
                Fate::Ending if Instant::now() < end => thread::sleep(ASK_EVERY),
                Fate::Gone => return Ok(()),
                Fate::Ending | Fate::Alive => {
                    warn!(
                        "{} is gone and something still uses its namespace; its gate stays in force",
                        subject.netns.path.display()
                    );
                    return Ok(());
                }
            }
        }
    }
}
