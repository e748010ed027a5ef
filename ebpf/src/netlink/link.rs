//! Network devices, as far as VRFs are concerned.

use vrfgate_core::LinkKind;

use super::{Attribute, Error, Malformed, Message, Request, Socket};

/// `<linux/rtnetlink.h>`, `<linux/if_link.h>`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_VRF_TABLE: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves out counters, half of a message.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// The name of the type.
const VRF: &str = "vrf";
/// `struct ifinfomsg`
const IFINFOMSG: usize = 16;
/// `IFF_UP | IFF_LOWER_UP`
const WORKS: u32 = 0x1 | 0x1_0000;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// What matters here of its type.
    pub kind: LinkKind,
    /// Number of the device that it is enslaved to.
    pub master: Option<u32>,
    /// Whether that one is a VRF.
    pub is_slave_of_vrf: bool,
    /// Whether it is up, and so is what is below it.
    pub works: bool,
}

impl From<Link> for vrfgate_core::Link {
    fn from(link: Link) -> Self {
        Self {
            ifindex: link.ifindex,
            name: link.name,
            kind: link.kind,
            master: link.master,
        }
    }
}

/// Every device of the socket's namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    socket.list(&request(0), read)
}

/// One device, by its number.
pub fn link_of(socket: &mut Socket, ifindex: u32) -> Result<Link, Error> {
    let found = socket.ask(&request(ifindex), read)?;
    found.ok_or(Error::Malformed(Malformed("it tells of no device")))
}

fn request(ifindex: u32) -> Request {
    let mut body = vec![0; IFINFOMSG];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let attribute: [&[u8]; 3] = [
        &8_u16.to_ne_bytes(),
        &IFLA_EXT_MASK.to_ne_bytes(),
        &RTEXT_FILTER_SKIP_STATS.to_ne_bytes(),
    ];
    body.extend(attribute.concat());
    Request {
        kind: RTM_GETLINK,
        flags: 0,
        body,
    }
}

pub(super) fn read(message: Message<'_>) -> Result<Option<Link>, Malformed> {
    match message.kind {
        RTM_NEWLINK => link(&message).map(Some),
        _ => Ok(None),
    }
}

/// Reads a device from a message: an answer or a notification.
pub fn link(message: &Message<'_>) -> Result<Link, Malformed> {
    let mut link = Link {
        ifindex: u32::from_ne_bytes(message.field(4)?),
        name: String::new(),
        kind: LinkKind::Other,
        master: None,
        is_slave_of_vrf: false,
        works: u32::from_ne_bytes(message.field(8)?) & WORKS == WORKS,
    };
    for attribute in message.attributes(IFINFOMSG) {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_MASTER => link.master = Some(attribute.u32()?).filter(|master| *master != 0),
            IFLA_LINKINFO => {
                link.kind = kind(&attribute)?;
                let of_kind = attribute.nested().find(IFLA_INFO_SLAVE_KIND);
                link.is_slave_of_vrf = of_kind.is_some_and(|kind| kind.text() == VRF);
            }
            _ => {}
        }
    }
    Ok(link)
}

/// Only the type has to be readable: a VRF whose table can't be read still is one.
fn kind(info: &Attribute<'_>) -> Result<LinkKind, Malformed> {
    let (mut is_vrf, mut table) = (false, None);
    for attribute in info.nested() {
        let Ok(attribute) = attribute else {
            if is_vrf {
                break;
            }
            return Err(Malformed("a device's type is cut off"));
        };
        match attribute.kind {
            IFLA_INFO_KIND => is_vrf = attribute.text() == VRF,
            IFLA_INFO_DATA if is_vrf => {
                let number = attribute.nested().find(IFLA_VRF_TABLE);
                table = number.and_then(|number| number.u32().ok());
            }
            _ => {}
        }
    }
    Ok(if is_vrf {
        LinkKind::Vrf { table }
    } else {
        LinkKind::Other
    })
}
