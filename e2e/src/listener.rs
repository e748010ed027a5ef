//! Servers: real sockets that answer with who they are.

use std::{
    fmt,
    io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpStream, ToSocketAddrs, UdpSocket},
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::{
    Netns, ReallyClosed,
    attempt::address,
    soon,
    udp::{self, ReplyFrom},
};

/// Enough for every connection that a test opens at a time.
const BACKLOG: i32 = 64;

/// A server to be: how its socket is made.
#[derive(Clone, Debug)]
#[must_use = "a server is started by `tcp` or `udp`"]
pub struct Plan {
    netns: Arc<Netns>,
    identity: String,
    device: Option<String>,
    share_port: bool,
    transparent: bool,
    reply_from: ReplyFrom,
    groups: Vec<Group>,
}

/// A multicast group, and the interface it is joined on.
#[derive(Clone, Copy, Debug)]
enum Group {
    V4 {
        group: Ipv4Addr,
        interface: Ipv4Addr,
    },
    V6 {
        group: Ipv6Addr,
        interface: u32,
    },
}

impl Plan {
    pub(crate) fn new(netns: Arc<Netns>, identity: &str) -> Self {
        Self {
            netns,
            identity: identity.to_owned(),
            device: None,
            share_port: false,
            transparent: false,
            reply_from: ReplyFrom::default(),
            groups: Vec::new(),
        }
    }

    /// Binds to a device or VRF (`SO_BINDTODEVICE`).
    pub fn bound_to(self, device: &str) -> Self {
        Self {
            device: Some(device.to_owned()),
            ..self
        }
    }

    /// Sets `SO_REUSEPORT`.
    pub fn sharing_its_port(self) -> Self {
        Self {
            share_port: true,
            ..self
        }
    }

    /// Takes connections to addresses that are not this machine's (`IP_TRANSPARENT`). IPv4 only.
    pub fn transparent(self) -> Self {
        Self {
            transparent: true,
            ..self
        }
    }

    /// What its UDP answers are sent from.
    pub fn replying_from(self, reply_from: ReplyFrom) -> Self {
        Self { reply_from, ..self }
    }

    /// Joins an IPv4 multicast group on the interface that has an address.
    pub fn joining_v4(mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Self {
        self.groups.push(Group::V4 { group, interface });
        self
    }

    /// Joins an IPv6 multicast group on an interface.
    pub fn joining_v6(mut self, group: Ipv6Addr, interface: u32) -> Self {
        self.groups.push(Group::V6 { group, interface });
        self
    }

    /// Listens on an address such as `192.0.2.1:22`; `[::]:22` takes both families.
    #[must_use]
    #[track_caller]
    pub fn tcp(self, address: impl ToSocketAddrs + fmt::Debug) -> Listener {
        let who = self.identity.clone();
        self.try_tcp(&address)
            .unwrap_or_else(|error| panic!("{who} on TCP {address:?}: {error}"))
    }

    /// As [`Plan::tcp`], where the kernel may say no.
    pub fn try_tcp(self, address: impl ToSocketAddrs + fmt::Debug) -> io::Result<Listener> {
        let socket = self.bind(Type::STREAM, address)?;
        socket.listen(BACKLOG)?;
        let (stopped, stop) = io::pipe()?;
        let serve = move |plan: &Plan, socket: &Socket, served: &AtomicU32| {
            serve_tcp(plan, socket, served, &stopped)
        };
        Ok(Listener::serve(self, socket, Some(stop), serve))
    }

    /// Answers datagrams to an address such as `192.0.2.1:53`; `[::]:53` takes both families.
    #[must_use]
    #[track_caller]
    pub fn udp(self, address: impl ToSocketAddrs + fmt::Debug) -> Listener {
        let who = self.identity.clone();
        self.try_udp(&address)
            .unwrap_or_else(|error| panic!("{who} on UDP {address:?}: {error}"))
    }

    /// As [`Plan::udp`], where the kernel may say no.
    pub fn try_udp(self, address: impl ToSocketAddrs + fmt::Debug) -> io::Result<Listener> {
        let socket = self.bind(Type::DGRAM, address)?;
        udp::want_destination(&socket, self.reply_from)?;
        let udp: UdpSocket = socket.try_clone()?.into();
        for group in &self.groups {
            match group {
                Group::V4 { group, interface } => udp.join_multicast_v4(group, interface)?,
                Group::V6 { group, interface } => udp.join_multicast_v6(group, *interface)?,
            }
        }
        Ok(Listener::serve(self, socket, None, serve_udp))
    }

    #[track_caller]
    fn bind(&self, kind: Type, to: impl ToSocketAddrs + fmt::Debug) -> io::Result<Socket> {
        let address = address(to);
        self.netns.enter(|| {
            let socket = Socket::new(Domain::for_address(address), kind, None)?;
            if kind == Type::STREAM {
                // As servers do; it lets a test start its server anew on the same port.
                socket.set_reuse_address(true)?;
            }
            socket.set_reuse_port(self.share_port)?;
            if let Some(device) = &self.device {
                socket.bind_device(Some(device.as_bytes()))?;
            }
            if self.transparent {
                socket.set_ip_transparent_v4(true)?;
            }
            socket.bind(&address.into())?;
            Ok(socket)
        })
    }
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    served: Arc<AtomicU32>,
    /// Closing it ends the thread of a TCP server. Such a listener is not shut down: where `l3mdev_accept` has changed
    /// since it began, that moves it into the port of another listener (`inet_bhash2_reset_saddr`), and Linux 7.3 dies
    /// of what follows.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    _closed: ReallyClosed,
}

impl Listener {
    fn serve(
        plan: Plan,
        socket: Socket,
        stop: Option<PipeWriter>,
        serve: impl FnOnce(&Plan, &Socket, &AtomicU32) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let served = Arc::new(AtomicU32::new(0));
        let thread = socket.try_clone().ok().map(|socket| {
            let served = served.clone();
            // That it was stopped may be an error, too.
            thread::spawn(move || drop(serve(&plan, &socket, &served)))
        });
        Self {
            socket,
            served,
            stop,
            thread,
            _closed: ReallyClosed,
        }
    }

    /// Connections taken, or datagrams received, until now.
    #[must_use]
    pub fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    /// Binds the socket to a device now (`SO_BINDTODEVICE`).
    #[track_caller]
    pub fn bind_to(&self, device: &str) {
        self.socket
            .bind_device(Some(device.as_bytes()))
            .unwrap_or_else(|error| panic!("binding to {device}: {error}"));
    }

    /// Somebody comes, or has come already.
    #[track_caller]
    pub fn should_hear_something(&self) {
        soon("something arrives", || self.served() > 0);
    }

    /// Nobody comes.
    #[track_caller]
    pub fn should_hear_nothing(&self) {
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(self.served(), 0, "something arrived");
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        match self.stop.take() {
            Some(stop) => drop(stop),
            // UDP says "not connected", and wakes the thread all the same.
            None => drop(self.socket.shutdown(Shutdown::Both)),
        }
        if let Some(thread) = self.thread.take() {
            // It only returns errors, and those are of no interest now.
            let _ = thread.join();
        }
    }
}

fn serve_tcp(
    plan: &Plan,
    socket: &Socket,
    served: &AtomicU32,
    stopped: &PipeReader,
) -> io::Result<()> {
    loop {
        let mut ready =
            [socket.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut ready, PollTimeout::NONE)?;
        if ready[1].any() == Some(true) {
            return Ok(());
        }
        let (stream, _) = socket.accept()?;
        let stream: TcpStream = stream.into();
        served.fetch_add(1, Ordering::Relaxed);
        let identity = plan.identity.clone();
        // Ends with its client.
        thread::spawn(move || drop(converse(stream, &identity)));
    }
}

/// Says who is there, then repeats what it is told.
fn converse(mut stream: TcpStream, identity: &str) -> io::Result<()> {
    stream.write_all(format!("{identity}\n").as_bytes())?;
    let mut heard = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while heard.read_line(&mut line)? > 0 {
        stream.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn serve_udp(plan: &Plan, socket: &Socket, served: &AtomicU32) -> io::Result<()> {
    while let Some(question) = udp::receive(socket)? {
        served.fetch_add(1, Ordering::Relaxed);
        // An answer that finds no way is the client's to notice: that is what tests are about.
        drop(udp::answer(
            socket,
            &question,
            plan.identity.as_bytes(),
            plan.reply_from,
        ));
    }
    Ok(())
}
