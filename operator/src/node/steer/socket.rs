//! Conversations with the kernel's netfilter, by netlink.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NetlinkDeserializable as _, NetlinkHeader};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily, none::ControlMessage,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::{setsockopt, sockopt};
use vrfgate_ebpf::{
    Netns,
    netlink::{Error, Malformed, Message, Messages, Request, Socket},
};

/// `NFNL_SUBSYS_NFTABLES` of `<linux/netfilter/nfnetlink.h>`: whom a batch is for.
const NFTABLES: u16 = 10;
/// `NLMSG_ERROR`: an acknowledgement, too.
const ERROR: u16 = 2;
/// Room for a request; a VRF of a thousand services takes about 500 kB.
const SEND_BUFFER: usize = 16 << 20;
/// `struct nfgenmsg`
pub(super) const NFGENMSG: usize = 4;

/// A socket to netfilter in one namespace.
pub(super) struct Netfilter(Socket);

impl Netfilter {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        let socket = Socket::open(netns, NETLINK_NETFILTER)?;
        setsockopt(socket.inner(), sockopt::SndBufForce, &SEND_BUFFER)?;
        Ok(Self(socket))
    }

    /// A whole list: what `read` makes of each of its messages.
    pub(super) fn list<T>(
        &mut self,
        question: &NetfilterMessage,
        read: impl FnMut(Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> io::Result<Vec<T>> {
        Ok(self.0.list(&Request::of(question, 0), read)?)
    }

    /// Sends a request that the kernel only acknowledges: to do something, or whether something is there.
    pub(super) fn ask(&mut self, question: &NetfilterMessage) -> io::Result<()> {
        Ok(self.0.change(&Request::of(question, 0))?)
    }

    /// Has nftables make all of the changes, or none.
    pub(super) fn commit(&mut self, changes: &[(NetfilterMessage, u16)]) -> io::Result<()> {
        let border = |message: ControlMessage| {
            let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
            Request::of(&NetfilterMessage::new(header, message), 0)
        };
        let mut requests = vec![border(ControlMessage::BatchBegin)];
        requests.extend(
            changes
                .iter()
                .map(|(change, flags)| Request::of(change, *flags)),
        );
        // Its answer comes last, whatever comes of the others.
        if let Some(last) = requests.last_mut() {
            last.flags |= NLM_F_ACK;
        }
        let count = u32::try_from(requests.len()).map_err(io::Error::other)?;
        requests.push(border(ControlMessage::BatchEnd));
        let first = self.0.send(requests.iter().map(|request| (request, 0)))?;
        let last = first.wrapping_add(count - 1);
        let mut refusal = None;
        loop {
            let Some(datagram) = self.0.receive()? else {
                return Err(io::Error::other("the kernel's answer was lost"));
            };
            for message in Messages::of(datagram) {
                let message = message.map_err(Error::from)?;
                if message.kind != ERROR {
                    continue;
                }
                let code = i32::from_ne_bytes(message.field(0).map_err(Error::from)?);
                if code != 0 {
                    let error = io::Error::from_raw_os_error(code.saturating_neg());
                    refusal.get_or_insert(error);
                }
                // The first is the batch itself, which is refused as a whole where it makes no sense.
                let whole = message.sequence == first && code != 0;
                if whole || message.sequence == last {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }
}

/// A message as the crate knows it; `None` when it doesn't.
pub(super) fn decoded(message: &Message<'_>) -> Option<NetfilterMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = message.kind;
    NetfilterMessage::deserialize(&header, message.body).ok()
}
