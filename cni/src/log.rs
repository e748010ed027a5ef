//! The log: a file, or stderr. Never stdout, which is the runtime's.

use std::{fs::OpenOptions, io, sync::Arc};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::{
    config::{LogLevel, Places},
    protocol::{Code, Failure},
};

pub(crate) fn start(places: &Places) -> Result<(), Failure> {
    let level = match places.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let writer = match &places.log_file {
        Some(path) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|error| {
                    Failure::new(
                        Code::Io,
                        format!("logFile: opening {}: {error}", path.display()),
                    )
                })?;
            BoxMakeWriter::new(Arc::new(file))
        }
        None => BoxMakeWriter::new(io::stderr),
    };
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    started.map_err(|error| Failure::new(Code::Io, format!("starting the log: {error}")))
}
