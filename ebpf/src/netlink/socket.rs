//! A socket into one namespace: requests out, whole answers in.

use std::{
    io::{self, IoSliceMut},
    os::fd::AsRawFd,
    thread::sleep,
    time::Duration,
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkSerializable};
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, NetlinkAddr, recv, recvmsg, setsockopt, sockopt},
        time::{TimeVal, TimeValLike},
    },
};

use super::{
    Error, Malformed, Message,
    listing::{End, Listing, Outcome},
};
use crate::Netns;

/// The kernel answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel makes no datagram of a list larger than 32 KiB, but for a single message that is.
const BUFFER: usize = 64 << 10;
const LARGEST_BUFFER: usize = 4 << 20;
/// How often a list is read that changes meanwhile. Only lists of more than one datagram can, which takes some dozen
/// devices or some hundred addresses.
const TRIES: u32 = 50;
/// So many times at once; then the host is given a moment to calm down.
const TRIES_AT_ONCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// A question or a change, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`, beside those that every request has.
    pub flags: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Request {
    /// A message of one of the netlink-packet crates.
    #[must_use]
    pub fn of(message: &impl NetlinkSerializable, flags: u16) -> Self {
        let mut body = vec![0; message.buffer_len()];
        message.serialize(&mut body);
        Self {
            kind: message.message_type(),
            flags,
            body,
        }
    }

    fn write(&self, flags: u16, sequence: u32, bytes: &mut Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(self.body.len() + 16).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&(self.flags | flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        // The kernel knows whose socket it is.
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(())
    }
}

/// A netlink socket. Has one conversation at a time.
pub struct Socket {
    inner: netlink_sys::Socket,
    /// That of the last request.
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket of a protocol, such as `NETLINK_SOCK_DIAG`, in a namespace.
    pub fn open(netns: &Netns, protocol: isize) -> Result<Self, Error> {
        let mut socket = netns.run(|| netlink_sys::Socket::new(protocol))??;
        socket.bind_auto()?;
        let seconds = i64::try_from(TIMEOUT.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(seconds))
            .map_err(io::Error::from)?;
        Ok(Self {
            inner: socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// A socket for links, addresses, routes and policy rules. The kernel does the choosing that a request for a list
    /// asks for: a host may have a million routes.
    pub fn route(netns: &Netns) -> Result<Self, Error> {
        let socket = Self::open(netns, NETLINK_ROUTE)?;
        socket.inner.set_netlink_get_strict_chk(true)?;
        Ok(socket)
    }

    /// The socket itself, for its options.
    #[must_use]
    pub fn inner(&self) -> &netlink_sys::Socket {
        &self.inner
    }

    /// A whole list: what `read` makes of each of its messages.
    ///
    /// `read` may see a message again when the list has to be read again; what it returned for the first time is gone
    /// then. An error of it fails the whole list.
    pub fn list<T>(
        &mut self,
        request: &Request,
        mut read: impl FnMut(Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, Error> {
        for done in 1..=TRIES {
            match self.converse(request, NLM_F_DUMP, End::Done, &mut read)? {
                Outcome::Whole(found) => return Ok(found),
                Outcome::Broken if done < TRIES_AT_ONCE => {}
                Outcome::Broken => sleep(PAUSE),
            }
        }
        Err(Error::Interrupted { tries: TRIES })
    }

    /// What the kernel answers to a question that is not for a list. No answer at all is none.
    pub fn ask<T>(
        &mut self,
        request: &Request,
        read: impl FnMut(Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, Error> {
        match self.converse(request, NLM_F_ACK, End::Acknowledged, read)? {
            Outcome::Whole(found) => Ok(found.into_iter().next()),
            Outcome::Broken => Err(Error::Interrupted { tries: 1 }),
        }
    }

    /// Has the kernel change something.
    pub fn change(&mut self, request: &Request) -> Result<(), Error> {
        self.ask(request, |_| Ok(None::<()>)).map(|_| ())
    }

    fn converse<T>(
        &mut self,
        request: &Request,
        flags: u16,
        end: End,
        mut read: impl FnMut(Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Outcome<T>, Error> {
        let sequence = self.send([(request, flags)])?;
        let mut listing = Listing::new(sequence, end);
        loop {
            match self.receive()? {
                Some(datagram) => {
                    if listing.take(datagram, &mut read)? {
                        return Ok(listing.outcome()?);
                    }
                }
                None => listing.lost(),
            }
        }
    }

    /// Sends requests as one datagram, numbered one after the other. Returns the first one's number.
    pub fn send<'a>(
        &mut self,
        requests: impl IntoIterator<Item = (&'a Request, u16)>,
    ) -> Result<u32, Error> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for (request, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.write(flags, self.sequence, &mut bytes)?;
        }
        let sent = self.inner.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        if sent == bytes.len() {
            Ok(first)
        } else {
            Err(io::Error::other("the kernel took a part of the request").into())
        }
    }

    /// The kernel's next datagram; `None` when one was lost or cut off.
    pub fn receive(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            match receive(&self.inner, &mut self.buffer) {
                Ok(Received::Datagram(bytes)) => return Ok(self.buffer.get(..bytes)),
                Ok(Received::Lost) => return Ok(None),
                Ok(Received::FromSomebodyElse) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Error::Silent(TIMEOUT));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

enum Received {
    /// The kernel's, of so many bytes.
    Datagram(usize),
    /// Another process may send to our port, too.
    FromSomebodyElse,
    /// The socket had no room for it, or it was cut off.
    Lost,
}

/// Receives one datagram, and makes room for all of it first.
fn receive(socket: &netlink_sys::Socket, buffer: &mut Vec<u8>) -> io::Result<Received> {
    let fd = socket.as_raw_fd();
    match recv(fd, &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC) {
        Ok(length) if length > LARGEST_BUFFER => {
            return Err(io::Error::other(format!("a datagram of {length} bytes")));
        }
        Ok(length) if length > buffer.len() => buffer.resize(length, 0),
        Ok(_) => {}
        Err(Errno::ENOBUFS) => return Ok(Received::Lost),
        Err(error) => return Err(error.into()),
    }
    let mut into = [IoSliceMut::new(buffer)];
    match recvmsg::<NetlinkAddr>(fd, &mut into, None, MsgFlags::empty()) {
        Ok(received) if received.address.is_some_and(|from| from.pid() != 0) => {
            Ok(Received::FromSomebodyElse)
        }
        Ok(received) if received.flags.contains(MsgFlags::MSG_TRUNC) => Ok(Received::Lost),
        Ok(received) => Ok(Received::Datagram(received.bytes)),
        Err(Errno::ENOBUFS) => Ok(Received::Lost),
        Err(error) => Err(error.into()),
    }
}
