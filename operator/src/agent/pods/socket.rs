//! The socket that the CNI plugin speaks to: one line in, one line out. See `vrfgate_cni::agent`.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, warn};
use vrfgate_cni::agent::{Answer, Notice, PATIENCE, PROTOCOL};
use vrfgate_ebpf::Store;

use super::gate::{Done, Refusal};

/// A notice is about one attachment, of at most 256 services.
const LONGEST: u64 = 1024 * 1024;

/// How long to wait where a plugin could not be heard: for want of descriptors, say.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Notices that wait.
const QUEUE: usize = 64;

/// What the plugin says, and where the answer goes.
pub struct Heard {
    pub notice: Notice,
    pub done: Done,
}

/// Where an agent listens. Dropped, it is gone, unless the next agent has come meanwhile.
pub struct Place {
    path: PathBuf,
    inode: u64,
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

/// Begins to listen, in the place of an agent that may have been there before.
pub fn listen(store: &Store) -> anyhow::Result<(mpsc::Receiver<Heard>, Place)> {
    let path = store.run_directory().join("agent.sock");
    let (listener, inode) = bind(&path)
        .and_then(|listener| Ok((listener, fs::metadata(&path)?.ino())))
        .with_context(|| format!("listening on {}", path.display()))?;
    let place = Place {
        path: path.clone(),
        inode,
    };
    let (tell, heard) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, tell.clone()));
                }
                Err(error) => {
                    warn!("hearing a plugin on {}: {error}", path.display());
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    });
    Ok((heard, place))
}

fn bind(path: &PathBuf) -> io::Result<UnixListener> {
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
    UnixListener::bind(path)
}

async fn converse(mut stream: UnixStream, tell: mpsc::Sender<Heard>) {
    match timeout(PATIENCE, hear(&mut stream, &tell)).await {
        Ok(Ok(())) => {}
        // Only wanted to know whether anybody is here, or has lost patience.
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            debug!("speaking with the CNI plugin: {error}");
        }
        Ok(Err(error)) => warn!("speaking with the CNI plugin: {error}"),
        Err(_) => debug!("the CNI plugin got no answer in time"),
    }
}

async fn hear(stream: &mut UnixStream, tell: &mpsc::Sender<Heard>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(LONGEST))
        .read_line(&mut line)
        .await?;
    if line.is_empty() {
        // Only wanted to know whether anybody is here.
        return Ok(());
    }
    let result = match serde_json::from_str::<Notice>(&line) {
        Ok(notice) if notice.protocol != PROTOCOL => Err(never(format!(
            "this agent speaks protocol {PROTOCOL} and the plugin {}; install the plugin of this version",
            notice.protocol
        ))),
        Ok(notice) => {
            let (done, end) = oneshot::channel();
            let sent = tell.send(Heard { notice, done }).await;
            match (sent, end.await) {
                (Ok(()), Ok(result)) => result,
                // It has been dropped, as all are when the agent leaves.
                _ => Err(Refusal {
                    why: "this agent is about to leave, or to begin anew with this pod".to_owned(),
                    later: true,
                }),
            }
        }
        Err(error) => Err(never(format!("is no notice: {error}"))),
    };
    let answer = match result {
        Ok(()) => Answer {
            done: true,
            why: None,
            later: false,
        },
        Err(Refusal { why, later }) => Answer {
            done: false,
            why: Some(why),
            later,
        },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// The same will not succeed another time.
fn never(why: String) -> Refusal {
    Refusal { why, later: false }
}
