//! Local addresses.

use vrfgate_core::LocalAddress;

use super::{Error, Malformed, Message, Request, Socket};

/// `<linux/rtnetlink.h>`, `<linux/if_addr.h>`, `<linux/socket.h>`.
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct ifaddrmsg`
const IFADDRMSG: usize = 8;

/// Every IPv4 and IPv6 address of the socket's namespace.
pub fn addresses(socket: &mut Socket) -> Result<Vec<LocalAddress>, Error> {
    let request = Request {
        kind: RTM_GETADDR,
        flags: 0,
        body: vec![0; IFADDRMSG],
    };
    socket.list(&request, |message| match message.kind {
        RTM_NEWADDR => local_address(&message),
        _ => Ok(None),
    })
}

pub(super) fn local_address(message: &Message<'_>) -> Result<Option<LocalAddress>, Malformed> {
    let ([family], ifindex) = (message.field(0)?, message.field(4)?);
    if ![AF_INET, AF_INET6].contains(&family) {
        return Ok(None);
    }
    // Of a point-to-point IPv4 link, `ADDRESS` is the peer's and `LOCAL` ours; elsewhere only one is there
    // or both are the same (rtnetlink(7)).
    let (mut local, mut address) = (None, None);
    for attribute in message.attributes(IFADDRMSG) {
        let attribute = attribute?;
        match attribute.kind {
            IFA_LOCAL => local = Some(attribute.address()?),
            IFA_ADDRESS => address = Some(attribute.address()?),
            _ => {}
        }
    }
    Ok(local.or(address).map(|address| LocalAddress {
        ifindex: u32::from_ne_bytes(ifindex),
        address,
    }))
}
