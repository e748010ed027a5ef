//! Sends packets and sees where they come out: all sockets, of servers and of clients, in one thread, because a thread
//! or a process for each packet would take longer than everything else.
//!
//! A datagram carries its number, and the server that gets it is asked and not its answer: how answers of UDP servers
//! find their way is what others test (`steer::`, `routes::`).

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    libc::EINPROGRESS,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use vrfgate_e2e::Outcome;

use super::{
    Protocol,
    listeners::Listener,
    oracle::Foretold,
    packets::Packet,
    sockets::{Attempt, Servers, attempts},
    world::World,
};

/// Packets under way at a time: well below what a listener keeps waiting.
const AT_A_TIME: usize = 64;

/// How long an answer may take: emulated machines are slow.
const TIMEOUT: Duration = Duration::from_secs(20);
/// After which a datagram is sent once more: the first to a neighbour may get lost.
const AGAIN: Duration = Duration::from_secs(2);
/// How long to wait, after all others have ended, for what must not come. A datagram of this host to itself is there
/// when its sender goes on.
const SILENCE: Duration = Duration::from_millis(200);

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The listener at this place got it.
    Reached(usize),
    /// Its sender saw a closed port.
    Refused,
    /// Nobody got it, and its sender heard nothing.
    Silence,
    /// What no oracle foretells.
    Else(Outcome),
}

/// Sends the packets, and says what became of each.
pub fn send(
    world: &World,
    servers: &Servers,
    listeners: &[Listener],
    packets: &[(Packet, Foretold)],
) -> Vec<Fate> {
    let mut attempts = attempts(world, packets);
    let mut fates = Vec::with_capacity(packets.len());
    for batch in attempts.chunks_mut(AT_A_TIME) {
        Batch {
            servers,
            listeners,
            accepted: Vec::new(),
            first: fates.len(),
            attempts: batch,
        }
        .run();
        for attempt in batch {
            fates.push(attempt.fate.clone().unwrap_or(Fate::Silence));
        }
    }
    fates
}

/// Packets that are under way at the same time.
struct Batch<'a> {
    servers: &'a Servers,
    listeners: &'a [Listener],
    /// Kept until the clients have gone.
    accepted: Vec<TcpStream>,
    /// Number of the first packet.
    first: usize,
    attempts: &'a mut [Attempt],
}

impl Batch<'_> {
    fn run(&mut self) {
        for place in 0..self.attempts.len() {
            self.begin(place);
        }
        let deadline = Instant::now() + TIMEOUT;
        let mut again = Instant::now() + AGAIN;
        let mut silence = None;
        loop {
            let open = || self.attempts.iter().filter(|it| it.fate.is_none());
            if open().next().is_none() || Instant::now() > deadline {
                return;
            }
            if !open().any(|attempt| attempt.heard_of) {
                let until = *silence.get_or_insert_with(|| Instant::now() + SILENCE);
                if Instant::now() > until {
                    return;
                }
            }
            if Instant::now() > again {
                again += AGAIN;
                for place in 0..self.attempts.len() {
                    if self.attempts[place].protocol == Protocol::Udp {
                        self.ask(place);
                    }
                }
            }
            self.wait();
        }
    }

    /// Waits until something happens, and looks at where it did.
    fn wait(&mut self) {
        let fds: Vec<(bool, usize)> = (0..self.servers.0.len())
            .map(|place| (true, place))
            .chain(
                (0..self.attempts.len())
                    .filter(|place| self.attempts[*place].fate.is_none())
                    .map(|place| (false, place)),
            )
            .collect();
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .map(|(server, place)| {
                if *server {
                    return PollFd::new(self.servers.0[*place].as_fd(), PollFlags::POLLIN);
                }
                let attempt = &self.attempts[*place];
                let connecting = attempt.protocol == Protocol::Tcp && !attempt.connected;
                let wanted = if connecting {
                    PollFlags::POLLOUT
                } else {
                    PollFlags::POLLIN
                };
                PollFd::new(attempt.socket.as_fd(), wanted)
            })
            .collect();
        poll(&mut polled, PollTimeout::from(50_u8)).unwrap_or_else(|error| panic!("poll: {error}"));
        let ready: Vec<bool> = polled.iter().map(|it| it.any() == Some(true)).collect();
        for ((server, place), _) in fds.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            if server {
                self.serve(place);
            } else {
                self.go_on(place);
            }
        }
    }

    fn begin(&mut self, place: usize) {
        let attempt = &mut self.attempts[place];
        match attempt.socket.connect(&attempt.to) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => attempt.end(&error),
            Ok(()) if attempt.protocol == Protocol::Udp => self.ask(place),
            Ok(()) => attempt.connected = true,
        }
    }

    /// Sends the number of the packet.
    fn ask(&mut self, place: usize) {
        let number = (self.first + place).to_string();
        let attempt = &mut self.attempts[place];
        if attempt.fate.is_none()
            && let Err(error) = attempt.socket.send(number.as_bytes())
        {
            attempt.end(&error);
        }
    }

    /// A client's socket is ready.
    fn go_on(&mut self, place: usize) {
        let attempt = &mut self.attempts[place];
        match attempt.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return attempt.end(&error),
        }
        if attempt.protocol == Protocol::Udp {
            return;
        }
        attempt.connected = true;
        let mut said = [0; 16];
        match (&attempt.socket).read(&mut said) {
            Ok(length) => {
                let said = String::from_utf8_lossy(&said[..length]).into_owned();
                attempt.fate = Some(match said.parse() {
                    Ok(listener) => Fate::Reached(listener),
                    Err(_) => Fate::Else(Outcome::Reached(said)),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => attempt.end(&error),
        }
    }

    /// A listener has received something: it answers with its name, or notes which datagram it was.
    fn serve(&mut self, listener: usize) {
        let socket = &self.servers.0[listener];
        if self.listeners[listener].protocol == Protocol::Tcp {
            if let Ok((socket, _)) = socket.accept() {
                let mut stream: TcpStream = socket.into();
                // A client that has gone has got another answer.
                let _ = stream.write_all(listener.to_string().as_bytes());
                self.accepted.push(stream);
            }
            return;
        }
        let mut number = [0; 16];
        let Ok(length) = (&*socket).read(&mut number) else {
            return;
        };
        let number = String::from_utf8_lossy(&number[..length]).parse::<usize>();
        let place = number
            .ok()
            .and_then(|number| number.checked_sub(self.first));
        if let Some(attempt) = place.and_then(|place| self.attempts.get_mut(place)) {
            attempt.fate = Some(Fate::Reached(listener));
        }
    }
}
