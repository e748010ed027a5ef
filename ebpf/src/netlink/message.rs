//! Datagrams taken apart: messages, their attributes, and the values of these. Pure, and never panics, whatever the
//! bytes.

use std::net::IpAddr;

use super::Malformed;

/// `struct nlmsghdr` of `<linux/netlink.h>`.
const MESSAGE_HEADER: usize = 16;
/// `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// `NLMSG_ALIGNTO` and `NLA_ALIGNTO`: where messages and attributes begin.
const ALIGNMENT: usize = 4;
/// `NLA_TYPE_MASK`: without the flags for nested attributes and byte order.
const KIND: u16 = 0x3fff;

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`: that of the request which it answers.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// A field of the structure that the body begins with, so many bytes from its start.
    pub fn field<const N: usize>(&self, at: usize) -> Result<[u8; N], Malformed> {
        field(self.body, at).ok_or(Malformed("the body is too short"))
    }

    /// The attributes that follow the first `fixed` bytes of the body.
    #[must_use]
    pub fn attributes(&self, fixed: usize) -> Attributes<'a> {
        let fixed = fixed.next_multiple_of(ALIGNMENT);
        Attributes(self.body.get(fixed..).unwrap_or_default())
    }
}

/// The messages of a datagram. An error is the last item.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Those of a datagram as it was received.
    #[must_use]
    pub fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let header = (|| {
            Some((
                field(bytes, 0)?,
                field(bytes, 4)?,
                field(bytes, 6)?,
                field(bytes, 8)?,
            ))
        })();
        let Some((length, kind, flags, sequence)) = header else {
            return Some(Err(Malformed("the header is cut off")));
        };
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(MESSAGE_HEADER..length) else {
            return Some(Err(Malformed("its length is not the datagram's")));
        };
        self.0 = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes(kind),
            flags: u16::from_ne_bytes(flags),
            sequence: u32::from_ne_bytes(sequence),
            body,
        }))
    }
}

/// Attributes, one after the other. An error is the last item.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The first attribute of a kind, or `None` when none is there or can be read.
    #[must_use]
    pub fn find(self, kind: u16) -> Option<Attribute<'a>> {
        self.map_while(Result::ok)
            .find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        // Fewer bytes than a header has are padding.
        let [a, b, k, l] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(ATTRIBUTE_HEADER..length) else {
            return Some(Err(Malformed("an attribute's length is not the message's")));
        };
        self.0 = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some(Ok(Attribute {
            kind: u16::from_ne_bytes([k, l]) & KIND,
            value,
        }))
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type`, without flags.
    pub kind: u16,
    /// What follows the header.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// As a number of one byte.
    pub fn u8(&self) -> Result<u8, Malformed> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    /// As a number of two bytes in network order.
    pub fn be16(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// As a number of four bytes in the machine's order.
    pub fn u32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    /// As a text that ends with a zero, or with the value.
    #[must_use]
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0);
        let text = self.value.get(..end.unwrap_or(self.value.len()));
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }

    /// As an address: of IPv4 or IPv6, by its length.
    pub fn address(&self) -> Result<IpAddr, Malformed> {
        if let Ok(octets) = <[u8; 4]>::try_from(self.value) {
            return Ok(octets.into());
        }
        self.array().map(|octets: [u8; 16]| octets.into())
    }

    /// As two values of the same length.
    pub fn halves<const N: usize>(&self) -> Result<[[u8; N]; 2], Malformed> {
        let halves = (|| Some([field(self.value, 0)?, field(self.value, N)?]))();
        halves.ok_or(Malformed("an attribute's value is too short"))
    }

    /// As attributes.
    #[must_use]
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }

    /// As a value of a fixed length; bytes that a later kernel has added are left out.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value
            .first_chunk()
            .copied()
            .ok_or(Malformed("an attribute's value is too short"))
    }
}
