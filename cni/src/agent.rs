//! The messages between the plugin and the agent of a node: one line of JSON each, over the unix stream socket on which the
//! agent listens, `agent.sock` in the run directory.
//!
//! ```text
//! plugin   {"protocol":1,"event":"attached","attachment":{…}}
//! agent    {"done":false,"working":true}     each second, while it is working
//! agent    {"done":true}                     or  {"done":false,"why":"…"}, perhaps with "later":true
//! ```
//!
//! * The plugin connects, sends one [`Notice`], and reads [`Answer`]s until one isn't `working`. Then it closes the connection.
//! * If the plugin waits (`progress`), the agent sends `working` until it has an answer, for at most [`WORK`]: other pods may come
//!   first. A thread of its own sends it, which can't tell a busy agent from one that hangs. An agent that was stopped, or is
//!   gone, sends nothing. A plugin that doesn't need the answer doesn't wait.
//! * `attached`: the attachment's record is written. The process that holds the gate of its namespace puts its rules into force:
//!   the plugin, or an agent that keeps the gate. (`Gate::open` gives a gate to one process at a time.) The agent answers once
//!   they are in force. A repeated ADD sends the notice again.
//! * `detached`: the attachment is to be released. If the agent holds the gate, it removes the rules, and detaches the gate with
//!   the last attachment of the namespace, before it answers. The record may still exist; the plugin removes it after the
//!   answer, and repeats the notice if it has to.
//! * The plugin holds a lock on the namespace's file (`flock`) during the conversation. The agent must not wait for this lock.
//! * `later` means that the agent is short of something, and that the same notice may succeed soon. If it must not fail, the
//!   plugin repeats it for [`TIMEOUT`].
//! * [`TIMEOUT`] without a line counts as no answer. After [`WORK`], the agent answers with `later`.
//!
//! Nothing depends on a notice: an agent that starts later finds the records.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};

use vrfgate_core::Attachment;

/// Version of this protocol. An agent refuses unknown ones.
pub const PROTOCOL: u32 = 1;

/// How long the plugin waits for a line of the agent. A pod's start waits with it.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// How often the agent reports that it is working.
pub const WORKING_EVERY: Duration = Duration::from_secs(1);

/// How long the agent may work on one notice. A kubelet allows two minutes for a pod's start (`runtimeRequestTimeout`).
pub const WORK: Duration = Duration::from_mins(1);

/// How often to repeat a notice to an agent that is short of something.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// What the plugin has done, or wants the agent to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// [`PROTOCOL`]
    pub protocol: u32,
    /// What has happened.
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
    /// It is new, or its services are.
    Attached,
    /// It is to be released.
    Detached,
}

/// The agent's answer to a notice.
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
    /// If not, whether the agent is still working: another answer follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub working: bool,
}

/// Why the agent has not done what the plugin wants.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nothing listens on the socket, or nothing answers.
    #[error("no answer from an agent at {socket}: {cause}")]
    Missing {
        /// The socket.
        socket: String,
        /// The system's error.
        cause: io::Error,
    },
    /// It has refused.
    #[error("the agent at {socket} says: {why}")]
    Refused {
        /// The socket.
        socket: String,
        /// Its reason.
        why: String,
        /// Whether the same may succeed soon.
        later: bool,
    },
}

/// Sends a notice to the agent, and waits at most [`TIMEOUT`] for its answer.
///
/// # Errors
///
/// No agent has answered, or it has refused.
pub fn tell(socket: &Path, event: Event, attachment: &Attachment) -> Result<(), AgentError> {
    send(socket, event, attachment, None)
}

/// Sends a notice. Waits until `end` while the agent is working, and doesn't wait for that without it.
fn send(
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

/// As [`tell`], but waits while the agent is working, for at most [`WORK`] and [`TIMEOUT`] together. If the agent answers that
/// the same may succeed soon, repeats the notice for [`TIMEOUT`].
///
/// # Errors
///
/// As of [`tell`].
pub fn insist(socket: &Path, event: Event, attachment: &Attachment) -> Result<(), AgentError> {
    let end = Instant::now() + WORK + TIMEOUT;
    let mut retry_until = None;
    loop {
        let answer = send(socket, event, attachment, Some(end));
        let Err(AgentError::Refused { later: true, .. }) = answer else {
            return answer;
        };
        let now = Instant::now();
        if now >= end || now >= *retry_until.get_or_insert(now + TIMEOUT) {
            return answer;
        }
        thread::sleep(RETRY_EVERY);
    }
}

/// Checks that an agent listens.
///
/// # Errors
///
/// None does.
pub fn is_there(socket: &Path) -> Result<(), AgentError> {
    connect(socket)
        .map(drop)
        .map_err(|cause| AgentError::Missing {
            socket: socket.display().to_string(),
            cause,
        })
}

/// Connects to the socket. The listener decides what a pod opens, so it must be root.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    let uid = getsockopt(&stream, PeerCredentials)?.uid();
    if uid != 0 {
        let why = format!("uid {uid} listens there, and is not root");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(stream)
}

fn converse(socket: &Path, notice: &Notice, end: Option<Instant>) -> io::Result<Answer> {
    let mut stream = connect(socket)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_string(notice)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answers = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            let why = "it closed the connection before it answered";
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
