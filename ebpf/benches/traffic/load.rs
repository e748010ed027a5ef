//! Loads: how long so many operations take, both ends in one thread. A packet is received on the processor that sent
//! it, so nothing waits for another processor, and the whole way of the packet is measured.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use socket2::{Domain, Socket, Type};
use vrfgate_ebpf::Netns;

use crate::net::{Net, service};

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A connection that is made and aborted.
    Connections,
    /// A connection, a byte there, a byte back.
    Requests,
    /// A byte there and back on a connection that is open already.
    RoundTrips,
    /// A datagram of 32 bytes to a server that isn't connected.
    Datagrams,
    /// 64 KiB on a connection that is open already.
    Stream,
}

impl Load {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "TCP connections",
            Self::Requests => "TCP requests",
            Self::RoundTrips => "round trips on an open connection",
            Self::Datagrams => "UDP datagrams",
            Self::Stream => "64 KiB of a stream",
        }
    }

    /// Seconds that one operation takes, of `count`.
    pub fn seconds(self, clock: Clock, net: &Net, servers: &Servers, count: u32) -> f64 {
        let run = || {
            stay_on_one_processor();
            match self {
                Self::Connections => connections(clock, servers, count),
                Self::Requests => requests(clock, servers, count),
                Self::RoundTrips => round_trips(clock, servers, count),
                Self::Datagrams => datagrams(clock, servers, count),
                Self::Stream => stream(clock, servers, count),
            }
        };
        net.client.netns().run(run).unwrap().as_secs_f64() / f64::from(count)
    }
}

/// What an operation is measured by.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Time of the thread that does everything, in the kernel too: what other processes do meanwhile is none of it.
    Thread,
    /// Time as it passes: other processes have a part in it.
    Wall,
}

impl Clock {
    fn time(self, work: impl FnOnce()) -> Duration {
        let id = match self {
            Self::Thread => ClockId::CLOCK_THREAD_CPUTIME_ID,
            Self::Wall => ClockId::CLOCK_MONOTONIC,
        };
        let now = || Duration::from(clock_gettime(id).unwrap());
        let start = now();
        work();
        now().saturating_sub(start)
    }
}

/// Unbound sockets, as any server's.
pub struct Servers {
    tcp: TcpListener,
    udp: UdpSocket,
    /// Where clients connect to: a relay can't listen on the port of what it relays to.
    pub entrance: SocketAddr,
}

impl Servers {
    pub fn start(netns: &Netns) -> Self {
        let start = || -> std::io::Result<Self> {
            let tcp = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            tcp.set_reuse_address(true)?;
            tcp.bind(&service().into())?;
            tcp.listen(128)?;
            Ok(Self {
                tcp: tcp.into(),
                udp: UdpSocket::bind(service())?,
                entrance: service(),
            })
        };
        netns.run(start).unwrap().unwrap()
    }

    /// Takes a connection that has been made, to be rid of it.
    pub fn accept(&self) {
        drop(self.tcp.accept().unwrap());
    }
}

fn stay_on_one_processor() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    // The last one: the first has the machine's interrupts.
    let last = (0..CpuSet::count())
        .rev()
        .find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.unwrap_or(0)).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
}

fn connect(servers: &Servers) -> Socket {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Closed by a reset, so that ports are free again at once.
    client.set_linger(Some(Duration::ZERO)).unwrap();
    // Whatever is written at once fits, though nobody reads meanwhile.
    client.set_send_buffer_size(1 << 20).unwrap();
    client.connect(&servers.entrance.into()).unwrap();
    client
}

fn open(servers: &Servers) -> (TcpStream, TcpStream) {
    let client = connect(servers);
    let (server, _) = servers.tcp.accept().unwrap();
    (client.into(), server)
}

fn connections(clock: Clock, servers: &Servers, count: u32) -> Duration {
    clock.time(|| {
        for _ in 0..count {
            open(servers);
        }
    })
}

fn requests(clock: Clock, servers: &Servers, count: u32) -> Duration {
    clock.time(|| {
        for _ in 0..count {
            let mut client = TcpStream::from(connect(servers));
            client.write_all(b"?").unwrap();
            let (mut server, _) = servers.tcp.accept().unwrap();
            answer(&mut client, &mut server);
        }
    })
}

fn round_trips(clock: Clock, servers: &Servers, count: u32) -> Duration {
    let (mut client, mut server) = open_through_relays(servers);
    clock.time(|| {
        for _ in 0..count {
            client.write_all(b"?").unwrap();
            answer(&mut client, &mut server);
        }
    })
}

/// A relay connects when it likes: perhaps not before the client has said something.
fn open_through_relays(servers: &Servers) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::from(connect(servers));
    client.write_all(b"?").unwrap();
    let (mut server, _) = servers.tcp.accept().unwrap();
    answer(&mut client, &mut server);
    (client, server)
}

fn answer(client: &mut TcpStream, server: &mut TcpStream) {
    let mut byte = [0];
    server.read_exact(&mut byte).unwrap();
    server.write_all(b"!").unwrap();
    client.read_exact(&mut byte).unwrap();
}

fn datagrams(clock: Clock, servers: &Servers, count: u32) -> Duration {
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.connect(service()).unwrap();
    let mut buffer = [0; 64];
    clock.time(|| {
        for _ in 0..count {
            client.send(&[7; 32]).unwrap();
            servers.udp.recv(&mut buffer).unwrap();
        }
    })
}

fn stream(clock: Clock, servers: &Servers, count: u32) -> Duration {
    let (mut client, mut server) = open(servers);
    let mut buffer = vec![7; 65_536];
    clock.time(|| {
        for _ in 0..count {
            client.write_all(&buffer).unwrap();
            server.read_exact(&mut buffer).unwrap();
        }
    })
}
