//! The words of nftables that steering needs, each as nft(8) would say it, so that nft shows them well.

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta,
    MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

/// One expression of a rule.
pub(super) type Expression = ListAttribute<ExpressionAttribute>;

/// What passes from one expression to the next.
const REGISTER: Register = Register::Reg1;

/// `NFTA_CT_*` and `enum nft_ct_keys` of `<linux/netfilter/nf_tables.h>`, which the crate lacks.
mod ct {
    pub const DESTINATION_REGISTER: u16 = 1;
    pub const KEY: u16 = 2;
    pub const DIRECTION: u16 = 3;
    pub const SOURCE_REGISTER: u16 = 4;

    pub const KEY_DIRECTION: u32 = 1;
    pub const KEY_ZONE: u32 = 17;

    /// `IP_CT_DIR_ORIGINAL` and `IP_CT_DIR_REPLY`.
    pub const ORIGINAL: u8 = 0;
    pub const REPLY: u8 = 1;
}

/// `NF_ACCEPT` of `<linux/netfilter.h>`.
const ACCEPT: u32 = 1;

/// A field of a packet, by offset and length.
#[derive(Clone, Copy)]
pub(super) struct Field {
    header: Header,
    offset: u32,
    length: u32,
}

/// `enum nft_payload_bases`.
#[derive(Clone, Copy)]
enum Header {
    Network = 1,
    Transport = 2,
}

impl Field {
    pub(super) const fn source(ipv4: bool) -> Self {
        let (offset, length) = if ipv4 { (12, 4) } else { (8, 16) };
        Self {
            header: Header::Network,
            offset,
            length,
        }
    }

    pub(super) const fn destination(ipv4: bool) -> Self {
        let (offset, length) = if ipv4 { (16, 4) } else { (24, 16) };
        Self {
            header: Header::Network,
            offset,
            length,
        }
    }

    pub(super) const fn destination_port() -> Self {
        Self {
            header: Header::Transport,
            offset: 2,
            length: 2,
        }
    }

    pub(super) fn load(self) -> Expression {
        Expressions::Payload(vec![
            Payload::DestinationRegister(REGISTER),
            Payload::Base(self.header as u32),
            Payload::Offset(self.offset),
            Payload::Len(self.length),
        ])
        .into()
    }
}

/// Loads something known of the packet.
pub(super) fn meta(key: MetaKey) -> Expression {
    Expressions::Meta(vec![Meta::DestinationRegister(REGISTER), Meta::Key(key)]).into()
}

/// `meta mark set` what was loaded.
pub(super) fn set_mark() -> Expression {
    Expressions::Meta(vec![
        Meta::Key(MetaKey::Mark),
        Meta::SourceRegister(REGISTER),
    ])
    .into()
}

/// Goes on only if what was loaded equals `value`.
pub(super) fn is(value: &[u8]) -> Expression {
    compare(Operator::Equal, value)
}

/// Goes on only if what was loaded stands so to `value`, as numbers in network byte order do.
pub(super) fn compare(operator: Operator, value: &[u8]) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(REGISTER),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
    .into()
}

/// Keeps the bits of `mask` of what was loaded, then flips those of `flip`.
pub(super) fn bits(mask: &[u8], flip: &[u8]) -> Expression {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(REGISTER),
        Bitwise::DestinationRegister(REGISTER),
        // An address is the longest.
        Bitwise::Length(u32::try_from(mask.len()).unwrap_or(16)),
        Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
        Bitwise::Xor(DataAttribute::Value(flip.to_vec())),
    ])
    .into()
}

/// `ct original zone set`
pub(super) fn set_zone(zone: u16) -> [Expression; 2] {
    let load = Expressions::Immediate(vec![
        Immediate::DestinationRegister(REGISTER),
        Immediate::Data(DataAttribute::Value(zone.to_ne_bytes().to_vec())),
    ]);
    let set = connection(vec![
        number(ct::KEY, ct::KEY_ZONE),
        DefaultNla::new(ct::DIRECTION, vec![ct::ORIGINAL]),
        number(ct::SOURCE_REGISTER, REGISTER.into()),
    ]);
    [load.into(), set]
}

/// Goes on only with answers on connections that were put into a zone by their question.
pub(super) fn answers_in(zone: u16) -> [Expression; 4] {
    let load = |key| {
        vec![
            number(ct::DESTINATION_REGISTER, REGISTER.into()),
            number(ct::KEY, key),
        ]
    };
    let mut zone_of_question = load(ct::KEY_ZONE);
    zone_of_question.push(DefaultNla::new(ct::DIRECTION, vec![ct::ORIGINAL]));
    [
        connection(load(ct::KEY_DIRECTION)),
        is(&[ct::REPLY]),
        connection(zone_of_question),
        is(&zone.to_ne_bytes()),
    ]
}

pub(super) fn jump(chain: &str) -> Expression {
    verdict(vec![
        VerdictAttribute::Code(Verdict::Jump),
        VerdictAttribute::Chain(chain.to_owned()),
    ])
}

pub(super) fn accept() -> Expression {
    verdict(vec![VerdictAttribute::Code(Verdict::Other(ACCEPT))])
}

fn verdict(attributes: Vec<VerdictAttribute>) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
    .into()
}

fn connection(attributes: Vec<DefaultNla>) -> Expression {
    Expressions::Other {
        expression_type: "ct".to_owned(),
        attributes,
    }
    .into()
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}
