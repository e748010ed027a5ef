//! Conversations with the kernel's netfilter, by netlink.

use std::{io, time::Duration};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily, none::ControlMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};
use vrfgate_ebpf::Netns;

/// `NFNL_SUBSYS_NFTABLES` of `<linux/netfilter/nfnetlink.h>`: whom a batch is for.
const NFTABLES: u16 = 10;
/// The kernel answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for a request; a VRF of a thousand services takes about 500 kB.
const SEND_BUFFER: usize = 16 << 20;

/// A socket to netfilter in one namespace.
pub(super) struct Netfilter(Socket);

impl Netfilter {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        let mut socket = netns.run(|| Socket::new(NETLINK_NETFILTER))??;
        socket.bind_auto()?;
        let seconds = i64::try_from(PATIENCE.as_secs()).map_err(io::Error::other)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(seconds))?;
        setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
        Ok(Self(socket))
    }

    /// What the kernel answers to one question.
    pub(super) fn ask(
        &self,
        question: NetfilterMessage,
        flags: u16,
    ) -> io::Result<Vec<NetfilterMessage>> {
        self.send(vec![(question, NLM_F_REQUEST | flags)])?;
        let mut answers = Vec::new();
        loop {
            for message in self.receive()? {
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Has nftables make all of the changes, or none.
    pub(super) fn commit(&self, changes: Vec<(NetfilterMessage, u16)>) -> io::Result<()> {
        let border = |message: ControlMessage| {
            let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
            (NetfilterMessage::new(header, message), NLM_F_REQUEST)
        };
        let mut messages = vec![border(ControlMessage::BatchBegin)];
        messages.extend(
            changes
                .into_iter()
                .map(|(change, flags)| (change, NLM_F_REQUEST | flags)),
        );
        // Its answer comes last, whatever comes of the others.
        if let Some((_, flags)) = messages.last_mut() {
            *flags |= NLM_F_ACK;
        }
        let last = messages.len();
        messages.push(border(ControlMessage::BatchEnd));
        self.send(messages)?;
        let mut refusal = None;
        loop {
            for message in self.receive()? {
                let NetlinkPayload::Error(error) = message.payload else {
                    continue;
                };
                if error.code.is_some() {
                    refusal.get_or_insert_with(|| error.to_io());
                }
                let sequence = usize::try_from(message.header.sequence_number);
                // The first is the batch itself, which is refused as a whole where it makes no sense.
                let whole = sequence == Ok(1) && error.code.is_some();
                if whole || sequence == Ok(last) {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends messages as one, numbered from 1.
    fn send(&self, messages: Vec<(NetfilterMessage, u16)>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (number, (message, flags)) in (1..).zip(messages) {
            let mut message = NetlinkMessage::from(message);
            message.header.flags = flags;
            message.header.sequence_number = number;
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len(), 0);
            message.serialize(&mut bytes[start..]);
        }
        let sent = self.0.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::other("the kernel took a part of the request"))
        }
    }

    fn receive(&self) -> io::Result<Vec<NetlinkMessage<NetfilterMessage>>> {
        let (datagram, _) = self.0.recv_from_full()?;
        let mut messages = Vec::new();
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // Messages begin at multiples of four bytes (NLMSG_ALIGN of <linux/netlink.h>).
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            messages.push(message);
        }
        Ok(messages)
    }
}
