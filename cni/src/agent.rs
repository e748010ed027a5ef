//! What the plugin and the agent of a node say to each other: one line of JSON each, over the unix stream socket
//! that the agent listens on, `agent.sock` in the run directory.
//!
//! ```text
//! plugin   {"protocol":1,"event":"attached","attachment":{…}}
//! agent    {"done":false,"working":true}     each second, while it is at it
//! agent    {"done":true}                     or  {"done":false,"why":"…"}, perhaps with "later":true
//! ```
//!
//! * The plugin connects, says one [`Notice`], and reads [`Answer`]s until one isn't `working`; then the connection is over.
//! * An agent says `working` to a plugin that waits for it (`progress`) until it has an answer, for [`WORK`] at most: other pods
//!   may come first. A thread of its own says so, which can't tell an agent that is busy from one whose work hangs. An agent that
//!   was stopped, or is gone, says nothing. A plugin that can do without the answer doesn't wait.
//! * `attached`: the attachment's record is written. Whoever holds the gate of its namespace (`Gate::open` gives it
//!   to one process at a time) puts its rules into force: the plugin, or an agent that looks after the gate. The
//!   agent answers once they are in force. A repeated ADD says it again.
//! * `detached`: the attachment is to be as if it had never been. Where the agent holds the gate, it takes the
//!   rules away, and the gate with the last attachment of the namespace, before it answers. The record may be there
//!   still; the plugin removes it after the answer, and says the same again if it comes to that.
//! * The plugin holds a lock on the namespace's file (`flock`) while it speaks. The agent must not wait for it.
//! * `later` says that the agent is short of something, and that the same may succeed soon; where it must not fail, the plugin
//!   asks again for [`PATIENCE`].
//! * The plugin takes [`PATIENCE`] without a line for no answer, and what takes longer than [`WORK`] the agent answers with `later`.
//!
//! Nothing depends on a notice being heard: an agent that starts later finds the records.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};

use crate::Attachment;

/// Number of this protocol; an agent refuses those it doesn't know.
pub const PROTOCOL: u32 = 1;

/// How long the plugin waits for a line of the agent: a pod's start waits with it.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How often the agent says that it is working.
pub const WORKING_EVERY: Duration = Duration::from_secs(1);

/// How long the agent may work on one notice. A kubelet gives a pod's start two minutes (`runtimeRequestTimeout`).
pub const WORK: Duration = Duration::from_mins(1);

/// How often an agent is asked again that is short of something.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What the plugin has done, or wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// [`PROTOCOL`]
    pub protocol: u32,
    /// What happened.
    pub event: Event,
    /// To which attachment.
    pub attachment: Attachment,
    /// Whether the plugin waits while answers are `working`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
}

/// What may happen to an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It is new, or has new services.
    Attached,
    /// It is gone.
    Detached,
}

/// What the agent says to that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether everything is as the plugin wants it.
    pub done: bool,
    /// If not, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// If not, whether the same may succeed soon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
    /// If not, whether the agent is still at it: another answer follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub working: bool,
}

/// Why the agent has not done what the plugin wants.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens, or nobody answers.
    #[error("no answer from an agent at {socket}: {cause}")]
    Missing {
        /// The socket.
        socket: String,
        /// What the system says.
        cause: io::Error,
    },
    /// It answered that it can't.
    #[error("the agent at {socket} says: {why}")]
    Refused {
        /// The socket.
        socket: String,
        /// What it says.
        why: String,
        /// Whether the same may succeed soon.
        later: bool,
    },
}

/// Says something to the agent, and waits for its answer, for [`PATIENCE`] at most.
pub fn tell(socket: &Path, event: Event, attachment: &Attachment) -> Result<(), AgentError> {
    say(socket, event, attachment, None)
}

/// `end`: how long to wait while the agent is working; not at all without it.
fn say(
    socket: &Path,
    event: Event,
    attachment: &Attachment,
    end: Option<Instant>,
) -> Result<(), AgentError> {
    let notice = Notice {
        protocol: PROTOCOL,
        event,
        attachment: attachment.clone(),
        progress: end.is_some(),
    };
    let name = || socket.display().to_string();
    match converse(socket, &notice, end) {
        Ok(Answer { done: true, .. }) => Ok(()),
        Ok(Answer {
            done: false,
            why,
            later,
            working: _,
        }) => Err(AgentError::Refused {
            socket: name(),
            why: why.unwrap_or_else(|| "no".into()),
            later,
        }),
        Err(cause) => Err(AgentError::Missing {
            socket: name(),
            cause,
        }),
    }
}

/// As [`tell`], and waits while the agent is working, for [`WORK`] and [`PATIENCE`] in all. Where the agent says that the same may
/// succeed soon, it is asked again for [`PATIENCE`].
pub fn insist(socket: &Path, event: Event, attachment: &Attachment) -> Result<(), AgentError> {
    let end = Instant::now() + WORK + PATIENCE;
    let mut ask_until = None;
    loop {
        let told = say(socket, event, attachment, Some(end));
        let Err(AgentError::Refused { later: true, .. }) = told else {
            return told;
        };
        let now = Instant::now();
        if now >= end || now >= *ask_until.get_or_insert(now + PATIENCE) {
            return told;
        }
        thread::sleep(ASK_EVERY);
    }
}

/// Whether anybody listens.
pub fn is_there(socket: &Path) -> Result<(), AgentError> {
    connect(socket)
        .map(drop)
        .map_err(|cause| AgentError::Missing {
            socket: socket.display().to_string(),
            cause,
        })
}

/// Whoever listens there decides what a pod opens: it has to be root.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    let uid = getsockopt(&stream, PeerCredentials)?.uid();
    if uid != 0 {
        let why = format!("uid {uid} listens there, who is not root");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(stream)
}

fn converse(socket: &Path, notice: &Notice, end: Option<Instant>) -> io::Result<Answer> {
    let mut stream = connect(socket)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(notice)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answers = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            let why = "it ended before it answered";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        let answer: Answer = serde_json::from_str(&line)?;
        if !answer.working {
            return Ok(answer);
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            let why = "it is still working on this";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
    }
}
