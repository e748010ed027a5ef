//! A list of the kernel while it comes in, datagram by datagram. Pure: whether it is whole is decided here.

use std::io;

use super::{Error, Malformed, Message, Messages};

/// `NLMSG_ERROR`, `NLMSG_DONE`, `NLMSG_OVERRUN` of `<linux/netlink.h>`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
/// The first kind of message that a family of netlink gives a meaning (`NLMSG_MIN_TYPE`).
const FIRST_OF_FAMILY: u16 = 0x10;
/// `NLM_F_DUMP_INTR`: the list changed between two parts of it.
const INTERRUPTED: u16 = 0x10;

/// What ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A list's own end.
    Done,
    /// The acknowledgement of a request.
    Acknowledged,
}

/// What has come in of one answer.
pub(super) struct Listing<T> {
    sequence: u32,
    end: End,
    found: Vec<T>,
    /// Parts are missing, or belong to different states of the kernel.
    broken: bool,
    /// The first message that could not be read. The rest is waited for all the same, so that the socket is free for
    /// the next question.
    malformed: Option<Malformed>,
}

/// What became of a list that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<T> {
    /// All of it is here.
    Whole(Vec<T>),
    /// It has to be read again.
    Broken,
}

impl<T> Listing<T> {
    pub(super) fn new(sequence: u32, end: End) -> Self {
        Self {
            sequence,
            end,
            found: Vec::new(),
            broken: false,
            malformed: None,
        }
    }

    /// Takes one datagram. True when it was the last one.
    pub(super) fn take(
        &mut self,
        datagram: &[u8],
        mut read: impl FnMut(Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<bool, Error> {
        for message in Messages::of(datagram) {
            let message = message?;
            // Of a question that was given up.
            if message.sequence != self.sequence {
                continue;
            }
            self.broken |= message.flags & INTERRUPTED != 0;
            match message.kind {
                DONE => {
                    // The kernel may end a list without a word.
                    let code = match message.body {
                        [] => 0,
                        _ => code(&message)?,
                    };
                    return if code < 0 {
                        Err(refused(code))
                    } else {
                        Ok(self.end == End::Done)
                    };
                }
                ERROR => match code(&message)? {
                    0 if self.end == End::Acknowledged => return Ok(true),
                    0 => {}
                    code => return Err(refused(code)),
                },
                OVERRUN => self.broken = true,
                kind if kind >= FIRST_OF_FAMILY => match read(message) {
                    Ok(found) => self.found.extend(found),
                    Err(error) => {
                        self.malformed.get_or_insert(error);
                    }
                },
                _ => {}
            }
        }
        Ok(false)
    }

    /// Notes that something was lost on the way.
    pub(super) fn lost(&mut self) {
        self.broken = true;
    }

    /// What it came to, once the last datagram was taken.
    pub(super) fn outcome(self) -> Result<Outcome<T>, Malformed> {
        match self.malformed {
            _ if self.broken => Ok(Outcome::Broken),
            Some(error) => Err(error),
            None => Ok(Outcome::Whole(self.found)),
        }
    }
}

/// For the fuzzer: a datagram as part of a list, of every kind that there is.
#[cfg(feature = "fuzz")]
pub(crate) fn read_everything(datagram: &[u8]) {
    use super::{address, link};
    // Lists that this one may be a part of.
    let sequence = datagram.get(8..12).and_then(|bytes| bytes.try_into().ok());
    let sequence = sequence.map_or(0, u32::from_ne_bytes);
    let mut links = Listing::new(sequence, End::Done);
    let _ = links.take(datagram, link::read);
    let mut addresses = Listing::new(sequence, End::Acknowledged);
    let _ = addresses.take(datagram, |message| address::local_address(&message));
}

/// The number that both `NLMSG_DONE` and `NLMSG_ERROR` begin with: 0, or a negative errno.
fn code(message: &Message<'_>) -> Result<i32, Malformed> {
    message.field(0).map(i32::from_ne_bytes)
}

fn refused(code: i32) -> Error {
    Error::Refused(io::Error::from_raw_os_error(code.saturating_neg()))
}

#[cfg(test)]
mod tests;
