//! Pages of metrics and health that a program serves on this machine.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// How long a page may take.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The pages on one port of 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// The port.
    pub port: u16,
}

impl Pages {
    /// Status and body of a page; `None` while nobody answers.
    #[must_use]
    pub fn get(self, page: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        write!(stream, "GET {page} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((status, body.to_owned()))
    }

    /// The value of a metric, labels included in its name; 0 if there is none.
    #[must_use]
    pub fn metric(self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics").unwrap_or_default();
        let lines = body.lines();
        let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }
}
