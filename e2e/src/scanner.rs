//! A client that tries ports that must be closed, over and over, while things change around it.

use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Host, Transport};

/// How long a port may take to show that it is open. A handshake takes no process, and so no luck.
const PATIENCE: Duration = Duration::from_millis(300);

/// A moment at which a port was open.
#[derive(Clone, Debug)]
pub struct Open {
    /// What was tried.
    pub port: (Transport, SocketAddr),
    /// When the attempt began.
    pub from: Instant,
    /// When it had succeeded.
    pub until: Instant,
}

/// Tries its ports in turn until dropped.
#[derive(Debug)]
pub struct Scanner {
    attempts: Arc<AtomicU32>,
    open: Arc<Mutex<Vec<Open>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scanner {
    pub(crate) fn start(client: &Host, ports: Vec<(Transport, SocketAddr)>) -> Self {
        let mut scanner = Self {
            attempts: Arc::default(),
            open: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (attempts, open, stop) = (
            scanner.attempts.clone(),
            scanner.open.clone(),
            scanner.stop.clone(),
        );
        let client = client.clone();
        let work = move || {
            for port in ports.into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let from = Instant::now();
                if is_open(port) {
                    let until = Instant::now();
                    open.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Open { port, from, until });
                }
                attempts.fetch_add(1, Ordering::Relaxed);
                // Others have work to do as well.
                thread::sleep(Duration::from_millis(2));
            }
        };
        scanner.thread = Some(thread::spawn(move || client.netns().enter(work)));
        scanner
    }

    /// Attempts made so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Every moment so far at which a port was open.
    #[must_use]
    pub fn open(&self) -> Vec<Open> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nothing is left to be said about a test that ends.
            let _ = thread.join();
        }
    }
}

fn is_open((transport, to): (Transport, SocketAddr)) -> bool {
    match transport {
        Transport::Tcp | Transport::Http => TcpStream::connect_timeout(&to, PATIENCE).is_ok(),
        Transport::Udp | Transport::Dns => answers(to).unwrap_or(false),
    }
}

fn answers(to: SocketAddr) -> std::io::Result<bool> {
    let any: SocketAddr = if to.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"who is there?")?;
    Ok(socket.recv(&mut [0; 64]).is_ok())
}
