//! Policy rules.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use vrfgate_ebpf::netlink::{Attribute, Error, Malformed, Message, Request, Socket};

/// `<linux/fib_rules.h>`, `<linux/rtnetlink.h>`
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TUN_ID: u16 = 12;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
/// The first of those that came after: DSCP and flow labels.
const FRA_DSCP: u16 = 25;
const FRA_SPORT_MASK: u16 = 28;
const FRA_DPORT_MASK: u16 = 29;
const FIB_RULE_INVERT: u32 = 2;
/// `struct fib_rule_hdr`
const FIB_RULE_HDR: usize = 12;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Kinds of messages about new and removed rules: `RTM_NEWRULE`, `RTM_DELRULE`.
pub(in crate::node) const RULE: RangeInclusive<u16> = RTM_NEWRULE..=33;
/// `RT_TABLE_LOCAL`
pub(in crate::node) const LOCAL_TABLE: u32 = 255;

/// A policy rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Rule {
    pub(in crate::node) preference: u32,
    /// `FR_ACT_TO_TBL` and so on.
    pub(in crate::node) action: u8,
    /// `None` for the one of the packet's VRF (`l3mdev`).
    pub(in crate::node) table: Option<u32>,
    pub(in crate::node) mark: u32,
    /// 0 where it doesn't match marks.
    pub(in crate::node) mask: u32,
    pub(in crate::node) from: Option<IpNet>,
    pub(in crate::node) to: Option<IpNet>,
    pub(in crate::node) input: Option<String>,
    pub(in crate::node) output: Option<String>,
    /// `IPPROTO_*` of packets.
    pub(in crate::node) protocol: Option<u8>,
    /// Whether it matches the source port.
    pub(in crate::node) client_ports: bool,
    pub(in crate::node) ports: Option<RangeInclusive<u16>>,
    pub(in crate::node) inverted: bool,
    /// Whether it matches anything else of packets.
    pub(in crate::node) special: bool,
    /// Who made it, by a number of `RTPROT_*`.
    pub(in crate::node) owner: u8,
}

impl Rule {
    pub(super) fn read(message: &Message<'_>) -> Result<Self, Malformed> {
        let [_, to_bits, from_bits, tos, table, _, _, action] = message.field(0)?;
        let mut rule = Self {
            action,
            table: Some(table.into()),
            inverted: u32::from_ne_bytes(message.field(8)?) & FIB_RULE_INVERT != 0,
            special: tos != 0,
            ..Self::default()
        };
        let (mut mask, mut l3mdev) = (None, false);
        for attribute in message.attributes(FIB_RULE_HDR) {
            let attribute = attribute?;
            match attribute.kind {
                FRA_DST => rule.to = IpNet::new(attribute.address()?, to_bits).ok(),
                FRA_SRC => rule.from = IpNet::new(attribute.address()?, from_bits).ok(),
                FRA_IIFNAME => rule.input = Some(attribute.text()),
                FRA_OIFNAME => rule.output = Some(attribute.text()),
                FRA_PRIORITY => rule.preference = attribute.u32()?,
                FRA_FWMARK => rule.mark = attribute.u32()?,
                FRA_FWMASK => mask = Some(attribute.u32()?),
                FRA_TABLE => rule.table = Some(attribute.u32()?),
                FRA_L3MDEV => l3mdev = attribute.u8()? != 0,
                FRA_PROTOCOL => rule.owner = attribute.u8()?,
                FRA_IP_PROTO => rule.protocol = Some(attribute.u8()?),
                FRA_SPORT_RANGE => rule.client_ports = true,
                FRA_DPORT_RANGE => rule.ports = Some(range(&attribute)?),
                // Of a single port, all bits count.
                FRA_SPORT_MASK | FRA_DPORT_MASK => {
                    rule.special |= attribute.array()? != [u8::MAX; 2];
                }
                FRA_TUN_ID | FRA_UID_RANGE | FRA_DSCP.. => rule.special = true,
                _ => {}
            }
        }
        if l3mdev {
            rule.table = None;
        }
        rule.mask = mask.unwrap_or(if rule.mark == 0 { 0 } else { u32::MAX });
        Ok(rule)
    }

    /// Whether it looks up the table of local addresses.
    pub(in crate::node) fn is_of_local_table(&self) -> bool {
        self.table == Some(LOCAL_TABLE)
    }
}

/// `struct fib_rule_port_range`
fn range(attribute: &Attribute<'_>) -> Result<RangeInclusive<u16>, Malformed> {
    let [start, end] = attribute.halves()?.map(u16::from_ne_bytes);
    Ok(start..=end)
}

/// The rules of a family, in the order in which the kernel uses them.
pub(in crate::node) fn rules(socket: &mut Socket, ipv4: bool) -> Result<Vec<Rule>, Error> {
    let mut body = vec![0; FIB_RULE_HDR];
    body[0] = if ipv4 { AF_INET } else { AF_INET6 };
    let request = Request {
        kind: RTM_GETRULE,
        flags: 0,
        body,
    };
    socket.list(&request, |message| match message.kind {
        RTM_NEWRULE => Rule::read(&message).map(Some),
        _ => Ok(None),
    })
}
