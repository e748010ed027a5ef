//! A client that tries ports that must be closed, over and over, while things change around it.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{Host, Transport};

/// How long a port may take to show that it is open. A handshake takes no process, and so no luck.
const TIMEOUT: Duration = Duration::from_millis(300);

/// A moment at which a port was open.
#[derive(Clone, Debug)]
pub struct Open {
    /// The device or VRF that it was tried from, by a client on the very machine.
    pub device: Option<String>,
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
    pub(crate) fn start(
        client: &Host,
        device: Option<String>,
        ports: Vec<(Transport, SocketAddr)>,
    ) -> Self {
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
                if is_open(device.as_deref(), port) {
                    let open_port = Open {
                        device: device.clone(),
                        port,
                        from,
                        until: Instant::now(),
                    };
                    open.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(open_port);
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

fn is_open(device: Option<&str>, (transport, to): (Transport, SocketAddr)) -> bool {
    let tried = match transport {
        Transport::Tcp | Transport::Http => connects(device, to),
        Transport::Udp | Transport::Dns => answers(device, to),
    };
    tried.unwrap_or(false)
}

fn socket(device: Option<&str>, to: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    if device.is_some() {
        socket.bind_device(device.map(str::as_bytes))?;
    }
    Ok(socket)
}

fn connects(device: Option<&str>, to: SocketAddr) -> io::Result<bool> {
    socket(device, to, Type::STREAM)?.connect_timeout(&to.into(), TIMEOUT)?;
    Ok(true)
}

fn answers(device: Option<&str>, to: SocketAddr) -> io::Result<bool> {
    let socket: UdpSocket = socket(device, to, Type::DGRAM)?.into();
    socket.connect(to)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send(b"who is there?")?;
    Ok(socket.recv(&mut [0; 64]).is_ok())
}
