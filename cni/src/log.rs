//! The log: a file, or stderr. Never stdout, which belongs to the runtime. Each entry is one line, although it may quote a
//! network configuration or names that a pod's owner chose.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    config::{LogLevel, Places, open_regular},
    protocol::{Code, Failure},
};

/// For root only: the log says which pods open what to whom.
const MODE: u32 = 0o600;

/// A file, or stderr without one.
struct Log(Option<File>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = OneLine<Box<dyn Write + 'a>>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(match &self.0 {
            Some(file) => Box::new(file),
            None => Box::new(io::stderr()),
        })
    }
}

/// Writes each text as one line. A text must be one whole log entry. Control characters in it are escaped, so that no part of it
/// looks like another entry, or controls a terminal.
#[derive(Debug)]
pub struct OneLine<W>(pub W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let mut line = String::with_capacity(text.len());
        for c in text.strip_suffix('\n').unwrap_or(&text).chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

pub(crate) fn start(places: &Places) -> Result<(), Failure> {
    let level = match places.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let file = places.log_file.as_ref().map(|path| {
        let how = &mut OpenOptions::new();
        how.append(true).create(true).mode(MODE);
        open_regular(path, how).map_err(|error| {
            let why = format!("logFile: opening {}: {error}", path.display());
            Failure::new(Code::Io, why)
        })
    });
    let log = Log(file.transpose()?);
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(log)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    started.map_err(|error| Failure::new(Code::Io, format!("starting the log: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_it_contains() {
        let mut written = Vec::new();
        let entry = "INFO pod a\nERROR forged\x1b[2J\u{85} \u{e9}\n";
        OneLine(&mut written).write_all(entry.as_bytes()).unwrap();
        let line = "INFO pod a\\nERROR forged\\u{1b}[2J\\u{85} \u{e9}\n";
        assert_eq!(String::from_utf8(written).unwrap(), line);
    }
}
