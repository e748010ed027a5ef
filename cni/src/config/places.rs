//! The paths of this node. They come from a file that only root can write, because the plugin writes to them as root, and others
//! may write network configurations (a `NetworkAttachmentDefinition`).

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::Deserialize;
use vrfgate_ebpf::Store;

use crate::protocol::{Code, Failure};

/// The file, unless [`ELSEWHERE`] names another. Its ending is none that `vrfgate run` reads as a leak.
const FILE: &str = "/etc/vrfgate/cni.conf";
/// Names another file. Plugins get their runtime's environment, which a network configuration can't change.
const ELSEWHERE: &str = "VRFGATE_CNI_CONFIG";
/// Longest file, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Mode bits by which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Keys of [`Places`], for an error that says where they belong.
pub(super) const KEYS: [&str; 5] = ["agentSocket", "bpffs", "logFile", "logLevel", "runDir"];

/// The contents of the file. Without it, everything is at its default path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Places {
    bpffs: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    agent_socket: Option<PathBuf>,
    /// Instead of stderr.
    pub(crate) log_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) log_level: LogLevel,
}

/// What to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl Places {
    pub(crate) fn of_this_node() -> Result<Self, Failure> {
        let elsewhere = env::var_os(ELSEWHERE).filter(|named| !named.is_empty());
        let elsewhere = elsewhere.map(PathBuf::from);
        let path = elsewhere.as_deref().unwrap_or(Path::new(FILE));
        let refuse = |why: String| {
            let by = elsewhere
                .as_ref()
                .map_or(String::new(), |_| format!("{ELSEWHERE}: "));
            let why = format!("{by}{}: {why}", path.display());
            Failure::new(Code::Configuration, why)
        };
        let text = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && elsewhere.is_none() => {
                return Ok(Self::default());
            }
            read => read.map_err(|error| refuse(error.to_string()))?,
        };
        Self::parse(&text).map_err(refuse)
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut text = serde_json::Deserializer::from_slice(text);
        let places: Self = serde_path_to_error::deserialize(&mut text)
            .map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
        text.end().map_err(|error| error.to_string())?;
        let Self {
            bpffs,
            run_dir,
            agent_socket,
            log_file,
            log_level: _,
        } = &places;
        for (key, path) in [
            ("bpffs", bpffs),
            ("runDir", run_dir),
            ("agentSocket", agent_socket),
            ("logFile", log_file),
        ] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return Err(format!("{key}: {} is not an absolute path", path.display()));
            }
        }
        Ok(places)
    }

    pub(crate) fn with_log_on_stderr(&self) -> Self {
        Self {
            log_file: None,
            ..self.clone()
        }
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(
            self.bpffs.clone().unwrap_or_else(|| "/sys/fs/bpf".into()),
            self.run_directory(),
        )
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.agent_socket
            .clone()
            .unwrap_or_else(|| self.run_directory().join("agent.sock"))
    }

    fn run_directory(&self) -> PathBuf {
        self.run_dir
            .clone()
            .unwrap_or_else(|| "/run/vrfgate".into())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path, OpenOptions::new().read(true))?;
    let metadata = file.metadata()?;
    if metadata.uid() != 0 || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(io::Error::other(
            "only root may be able to write to it (chown root and chmod go-w)",
        ));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("is longer than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// Opens a regular file. Refuses links, and files that might block.
pub(crate) fn open_regular(path: &Path, how: &mut OpenOptions) -> io::Result<File> {
    let file = how.custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("is not a regular file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_reported_with_the_path_of_its_field() {
        for (text, why) in [
            (r#"{"logfile": "/x"}"#, "unknown field `logfile`"),
            (r#"{"logFile": "x"}"#, "logFile: x is not an absolute path"),
            (r#"{"runDir": 1}"#, "runDir: invalid type"),
            (r#"{"logLevel": "loud"}"#, "logLevel: unknown variant"),
            ("", "EOF"),
            (r#"{} {"runDir": "/x"}"#, "trailing characters"),
        ] {
            let error = Places::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(Places::parse(b"{}").unwrap(), Places::default());
    }
}
