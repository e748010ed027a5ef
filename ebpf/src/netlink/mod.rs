//! Conversations with the kernel by netlink, without a runtime: the one way in which all parts of vrfgate read lists
//! of the kernel.
//!
//! A list is whole or an error. The kernel may say that it changed while it was read (`NLM_F_DUMP_INTR`), end it
//! with an error, or send more than the buffer holds: [`Socket::list`] reads it again or fails, and never returns a
//! part of it. Readers get messages as bytes and take from them what they need, so that an attribute that no reader
//! needs can't spoil the message.

mod address;
mod error;
mod link;
mod listing;
mod message;
mod socket;

#[cfg(feature = "fuzz")]
pub(crate) use self::listing::read_everything;
pub use self::{
    address::addresses,
    error::{Error, Malformed},
    link::{Link, link, link_of, links},
    message::{Attribute, Attributes, Message, Messages},
    socket::{Request, Socket},
};
