//! Routes: lists of them, and which one the kernel would use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use vrfgate_ebpf::netlink::{Attribute, Error, Malformed, Message, Request, Socket};

/// `<linux/rtnetlink.h>`
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;
/// `RTM_F_CLONED`: resolved, not as it stands in a table.
const CLONED: u32 = 0x200;
/// `RTM_F_LOOKUP_TABLE`
pub(in crate::node) const LOOKUP_TABLE: u32 = 0x1000;
/// `RTM_F_FIB_MATCH`
pub(in crate::node) const FIB_MATCH: u32 = 0x2000;
/// `struct rtmsg`
const RTMSG: usize = 12;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A route, as far as it matters to anybody here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Route {
    pub(in crate::node) table: u32,
    pub(in crate::node) destination: IpNet,
    /// `RTN_LOCAL` and so on.
    pub(in crate::node) kind: u8,
    /// Who made it, by a number of `RTPROT_*`.
    pub(in crate::node) protocol: u8,
    pub(in crate::node) scope: u8,
    pub(in crate::node) metric: u32,
    /// Any of several.
    pub(in crate::node) device: Option<u32>,
    pub(in crate::node) gateway: Option<IpAddr>,
    pub(in crate::node) source: Option<IpAddr>,
    /// Whether it is resolved for an address, and not as it stands in its table.
    pub(in crate::node) cloned: bool,
}

impl Route {
    /// The route in a message: an answer, or a notification. `None` for families that are none of ours.
    pub(in crate::node) fn read(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        let [family, length, _, _, table, protocol, scope, kind] = message.field(0)?;
        // The kernel leaves the destination of a default route unsaid.
        let unspecified: IpAddr = match family {
            AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return Ok(None),
        };
        let mut network = unspecified;
        let mut route = Self {
            table: table.into(),
            destination: unspecified.into(),
            kind,
            protocol,
            scope,
            metric: 0,
            device: None,
            gateway: None,
            source: None,
            cloned: u32::from_ne_bytes(message.field(8)?) & CLONED != 0,
        };
        for attribute in message.attributes(RTMSG) {
            let attribute = attribute?;
            match attribute.kind {
                RTA_DST => network = attribute.address()?,
                RTA_OIF => route.device = Some(attribute.u32()?),
                RTA_GATEWAY => route.gateway = Some(attribute.address()?),
                RTA_VIA => route.gateway = via(&attribute),
                RTA_PRIORITY => route.metric = attribute.u32()?,
                RTA_PREFSRC => route.source = Some(attribute.address()?),
                RTA_TABLE => route.table = attribute.u32()?,
                RTA_MULTIPATH => {
                    // `struct rtnexthop`
                    let [_, device] = attribute.halves()?;
                    route.device = Some(u32::from_ne_bytes(device));
                }
                _ => {}
            }
        }
        route.destination = IpNet::new(network, length)
            .map_err(|_| Malformed("a prefix is longer than its address"))?;
        Ok(Some(route))
    }
}

/// A gateway of another family than the route's: `struct rtvia`.
fn via(attribute: &Attribute<'_>) -> Option<IpAddr> {
    let address = Attribute {
        kind: attribute.kind,
        value: attribute.value.get(2..)?,
    };
    address.address().ok()
}

/// Which routes of a list are of interest. The kernel leaves out the others; 0 is any.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::node) struct Filter {
    pub(in crate::node) table: u32,
    pub(in crate::node) protocol: u8,
    pub(in crate::node) kind: u8,
}

/// Routes of a family: of those that the filter lets through, what `pick` makes of them.
pub(in crate::node) fn routes<T>(
    socket: &mut Socket,
    ipv4: bool,
    filter: Filter,
    mut pick: impl FnMut(Route) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let mut body = vec![
        if ipv4 { AF_INET } else { AF_INET6 },
        0,
        0,
        0,
        0,
        filter.protocol,
        0,
        filter.kind,
        0,
        0,
        0,
        0,
    ];
    if filter.table != 0 {
        put(&mut body, RTA_TABLE, &filter.table.to_ne_bytes());
    }
    let request = Request {
        kind: RTM_GETROUTE,
        flags: 0,
        body,
    };
    let list = socket.list(&request, |message| match message.kind {
        RTM_NEWROUTE => Ok(Route::read(&message)?.and_then(&mut pick)),
        _ => Ok(None),
    });
    match list {
        // A table without a route doesn't exist.
        Err(error) if filter.table != 0 && error.errno() == Some(nix::Error::ENOENT) => {
            Ok(Vec::new())
        }
        list => list,
    }
}

/// A question for the route that the kernel would use, as `ip route get` asks it.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Lookup {
    pub(in crate::node) to: IpAddr,
    pub(in crate::node) from: Option<IpAddr>,
    pub(in crate::node) input: Option<u32>,
    pub(in crate::node) output: Option<u32>,
    pub(in crate::node) protocol: Option<u8>,
    pub(in crate::node) port: Option<u16>,
    /// [`FIB_MATCH`], [`LOOKUP_TABLE`].
    pub(in crate::node) flags: u32,
}

/// The flags that make a look-up for an address return the route as it stands in its table, and that table. IPv6 always
/// returns the table, and refuses to be asked for it.
pub(in crate::node) const fn fib_match(to: IpAddr) -> u32 {
    match to {
        IpAddr::V4(_) => FIB_MATCH | LOOKUP_TABLE,
        IpAddr::V6(_) => FIB_MATCH,
    }
}

impl Lookup {
    /// For an address, and nothing else.
    pub(in crate::node) const fn of(to: IpAddr) -> Self {
        Self {
            to,
            from: None,
            input: None,
            output: None,
            protocol: None,
            port: None,
            flags: 0,
        }
    }

    /// The kernel's answer, which may be a refusal: there is no route, or one that leads nowhere.
    pub(in crate::node) fn ask(&self, socket: &mut Socket) -> Result<Option<Route>, Error> {
        socket.ask(&self.request(), |message| match message.kind {
            RTM_NEWROUTE => Route::read(&message),
            _ => Ok(None),
        })
    }

    fn request(&self) -> Request {
        let Self {
            to,
            from,
            input,
            output,
            protocol,
            port,
            flags,
        } = self;
        let (family, bits) = if to.is_ipv4() {
            (AF_INET, 32)
        } else {
            (AF_INET6, 128)
        };
        let from_bits = if from.is_some() { bits } else { 0 };
        let mut body = vec![family, bits, from_bits, 0, 0, 0, 0, 0];
        body.extend_from_slice(&flags.to_ne_bytes());
        put_address(&mut body, RTA_DST, *to);
        if let Some(from) = from {
            put_address(&mut body, RTA_SRC, *from);
        }
        if let Some(input) = input {
            put(&mut body, RTA_IIF, &input.to_ne_bytes());
        }
        if let Some(output) = output {
            put(&mut body, RTA_OIF, &output.to_ne_bytes());
        }
        if let Some(protocol) = protocol {
            put(&mut body, RTA_IP_PROTO, &[*protocol]);
        }
        if let Some(port) = port {
            put(&mut body, RTA_DPORT, &port.to_be_bytes());
        }
        Request {
            kind: RTM_GETROUTE,
            flags: 0,
            body,
        }
    }
}

fn put_address(body: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(body, kind, &address.octets()),
        IpAddr::V6(address) => put(body, kind, &address.octets()),
    }
}

/// Adds an attribute whose value is short.
fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}
