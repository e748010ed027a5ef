//! The socket that the CNI plugin speaks to. See `vrfgate_cni::agent`.
//!
//! A thread of its own answers there, and does nothing else: the agent's own thread may be busy with other pods for longer
//! than a plugin waits for a sign of life.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
        net,
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::WriteHalf},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, interval_at, timeout},
};
use tracing::{debug, warn};
use vrfgate_cni::agent::{Answer, Notice, PROTOCOL, TIMEOUT, WORK, WORKING_EVERY};
use vrfgate_ebpf::Store;

use super::gate::{Done, Refusal};

/// A notice is about one attachment, of at most 256 services.
const LONGEST: u64 = 1024 * 1024;

/// How long to wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Notices that may be pending.
const QUEUE: usize = 64;

/// Connections at a time; others wait to be accepted. Each takes a descriptor.
const PLUGINS: usize = 64;

/// A notice of the plugin, and where the answer goes.
pub struct Heard {
    pub notice: Notice,
    pub done: Done,
}

/// The socket that an agent listens on. Dropping this removes it, unless it is the next agent's by then.
pub struct Place {
    path: PathBuf,
    inode: u64,
    _listens: oneshot::Sender<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!("removing {}: {error}", self.path.display());
        }
    }
}

/// Starts to listen, replacing the socket of an earlier agent.
pub fn listen(store: &Store) -> anyhow::Result<(mpsc::Receiver<Heard>, Place)> {
    let path = store.run_directory().join("agent.sock");
    let begin = || -> io::Result<_> {
        let listener = bind(&path)?;
        let inode = fs::metadata(&path)?.ino();
        let (tell, heard) = mpsc::channel(QUEUE);
        let (listens, given_up) = oneshot::channel();
        let thread = thread::Builder::new().name("plugins".into());
        let place_of_it = path.clone();
        thread.spawn(move || {
            // Made in this thread, because a runtime must not be dropped within the agent's own one.
            let answered = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .and_then(|runtime| {
                    runtime.block_on(answer_plugins(listener, &place_of_it, tell, given_up))
                });
            if let Err(error) = answered {
                warn!("hearing plugins on {}: {error}", place_of_it.display());
            }
        })?;
        let place = Place {
            path: path.clone(),
            inode,
            _listens: listens,
        };
        Ok((heard, place))
    };
    begin().with_context(|| format!("listening on {}", path.display()))
}

/// Answers until the place is dropped, and then ends the open conversations.
async fn answer_plugins(
    listener: net::UnixListener,
    path: &Path,
    tell: mpsc::Sender<Heard>,
    mut given_up: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut conversations = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if conversations.len() < PLUGINS => accepted,
            Some(_) = conversations.join_next() => continue,
            _ = &mut given_up => break,
        };
        match accepted {
            Ok((stream, _)) => {
                conversations.spawn(converse(stream, tell.clone()));
            }
            Err(error) => {
                warn!("hearing a plugin on {}: {error}", path.display());
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop((listener, tell));
    let all = async { while conversations.join_next().await.is_some() {} };
    // Nothing works on their notices any more; each gets an answer that says so, unless the process ends before.
    let _ = timeout(TIMEOUT, all).await;
    Ok(())
}

fn bind(path: &Path) -> io::Result<net::UnixListener> {
    if let Some(directory) = path.parent() {
        // As the loader makes it: only root and its group may look, and speak here.
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = net::UnixListener::bind(path)?;
    // The umask decides otherwise, and that of a container may be anything.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn converse(mut stream: UnixStream, tell: mpsc::Sender<Heard>) {
    match hear(&mut stream, &tell).await {
        Ok(()) => {}
        // The plugin only checked for an agent, or has stopped waiting.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            debug!("speaking with the CNI plugin: {error}");
        }
        Err(error) => warn!("speaking with the CNI plugin: {error}"),
    }
}

async fn hear(stream: &mut UnixStream, tell: &mpsc::Sender<Heard>) -> io::Result<()> {
    // The directory's mode keeps others out; this check does where somebody has changed that.
    let uid = stream.peer_cred()?.uid();
    if uid != 0 {
        let why = format!("uid {uid} was refused: only root may speak here");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LONGEST));
    timeout(TIMEOUT, read.read_line(&mut line)).await??;
    if line.is_empty() {
        // The plugin only checked for an agent.
        return Ok(());
    }
    let result = match serde_json::from_str::<Notice>(&line) {
        Ok(notice) if notice.protocol != PROTOCOL => Err(never(format!(
            "this agent speaks protocol {PROTOCOL} and the plugin {}; install the plugin of this version",
            notice.protocol
        ))),
        Ok(notice) => {
            let progress = notice.progress;
            let (done, end) = oneshot::channel();
            let carried_out = async {
                match (tell.send(Heard { notice, done }).await, end.await) {
                    (Ok(()), Ok(result)) => result,
                    // Dropped, as all are when the agent ends.
                    _ => Err(later(
                        "this agent is about to leave, or to begin anew with this pod".to_owned(),
                    )),
                }
            };
            let mut carried_out = std::pin::pin!(timeout(WORK, carried_out));
            let mut working = interval_at(Instant::now() + WORKING_EVERY, WORKING_EVERY);
            loop {
                tokio::select! {
                    result = &mut carried_out => break result.unwrap_or_else(|_| {
                        Err(later(format!("this agent has been working on this for {WORK:?}")))
                    }),
                    _ = working.tick(), if progress => {
                        let still = Answer { working: true, ..Answer::default() };
                        say(&mut write, &still).await?;
                    }
                }
            }
        }
        Err(error) => Err(never(format!("is no notice: {error}"))),
    };
    let answer = match result {
        Ok(()) => Answer {
            done: true,
            ..Answer::default()
        },
        Err(Refusal { why, later }) => Answer {
            why: Some(why),
            later,
            ..Answer::default()
        },
    };
    say(&mut write, &answer).await
}

async fn say(write: &mut WriteHalf<'_>, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// The same notice may succeed another time.
fn later(why: String) -> Refusal {
    Refusal { why, later: true }
}

/// The same notice will not succeed another time.
fn never(why: String) -> Refusal {
    Refusal { why, later: false }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrfgate_cni::agent::{AgentError, Event, insist, tell};

    use super::*;

    #[test]
    fn a_plugin_that_needs_an_agent_waits_while_its_thread_is_busy_and_no_other_does() {
        let run = std::env::temp_dir().join(format!("vrfgate-socket-{}", std::process::id()));
        let store = Store::new("/nowhere", &run);
        let (mut heard, place) = listen(&store).unwrap();
        let attachment = json!({
            "network": "blue", "containerId": "c1", "ifname": "net1",
            "netns": {"path": "/run/netns/pod", "inode": 7, "cookie": 9}, "services": [],
        });
        let attachment: vrfgate_core::Attachment = serde_json::from_value(attachment).unwrap();
        let asked = [insist, tell].map(|ask| {
            let (socket, attachment) = (place.path.clone(), attachment.clone());
            let plugin = thread::spawn(move || ask(&socket, Event::Attached, &attachment));
            (plugin, heard.blocking_recv().unwrap().done)
        });
        // This thread is the agent's.
        thread::sleep(TIMEOUT + 2 * WORKING_EVERY);
        let answers = asked.map(|(plugin, done)| {
            // The one that doesn't wait is gone by now.
            let _ = done.send(Ok(()));
            plugin.join().unwrap()
        });
        assert!(
            matches!(answers, [Ok(()), Err(AgentError::Missing { .. })]),
            "{answers:?}"
        );

        let socket = place.path.clone();
        drop((heard, place));
        assert!(!socket.exists());
        fs::remove_dir_all(&run).unwrap();
    }

    #[test]
    fn only_its_owner_may_speak_there_whatever_the_umask_says() {
        let run = std::env::temp_dir().join(format!("vrfgate-own-socket-{}", std::process::id()));
        let (_heard, place) = listen(&Store::new("/nowhere", &run)).unwrap();
        let mode = fs::metadata(&place.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(place);
        fs::remove_dir_all(&run).unwrap();
    }

    /// The agent has a runtime already, in which none may be dropped.
    #[test]
    fn a_place_that_can_not_be_had_is_an_error_and_names_it() {
        let run = std::env::temp_dir().join(format!("vrfgate-no-socket-{}", std::process::id()));
        fs::create_dir_all(run.join("agent.sock/full")).unwrap();
        let store = Store::new("/nowhere", &run);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let error = runtime.block_on(async { listen(&store).err() });
        let error = format!("{:#}", error.unwrap());
        assert!(error.contains("agent.sock: "), "{error}");
        fs::remove_dir_all(&run).unwrap();
    }
}
