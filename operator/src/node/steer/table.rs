//! Our nftables table: its wanted content, and whether the kernel's table has it.
//!
//! ```text
//! table inet vrfgate {
//!   chain questions { type filter hook prerouting priority raw
//!     meta l4proto udp iif "blue1" jump vrf-7 }
//!   chain vrf-7 {
//!     ip daddr 192.0.2.1 udp dport 53 ct original zone set 30209 accept }
//!   chain answers { type route hook output priority mangle
//!     ct direction reply ct original zone 30209 meta mark set meta mark | 0x7f }
//!   chain apart { type nat hook input priority srcnat }
//! }
//! ```
//!
//! `apart` holds no rule. That it is there makes the kernel give a question another source port, on its way
//! to the server only, when a client of another VRF has asked from the very same address and port: otherwise
//! it would drop the question, because the two answers could not be told apart.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, ExpressionAttribute, Expressions, Hook, HookNumber,
    InetHookNumber, ListAttribute, MetaKey, NfTablesMessage, Operator, RuleAttribute, RuleMessage,
    TableAttribute, TableMessage,
};
use vrfgate_core::{MarkMask, MarkedVrf, OpenService, PortRange, Prefix, Steering};

use super::expression::{
    Expression, Field, accept, answers_in, bits, compare, is, jump, meta, set_mark, set_zone,
};

/// Name of the table, in the family `inet`.
pub(super) const TABLE: &str = "vrfgate";

/// `<linux/netfilter.h>`: `NFPROTO_IPV4`, `NFPROTO_IPV6`; `<linux/in.h>`: `IPPROTO_UDP`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const UDP: u8 = 17;

/// `NFTNL_UDATA_RULE_COMMENT` and its kin for tables, by which nft(8) knows comments.
const COMMENT: u8 = 0;
/// `NFT_USERDATA_MAXLEN`, less type, length and the closing zero.
const LONGEST_COMMENT: usize = 253;

/// A chain and its rules, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    /// Chains without one are jumped to.
    hook: Option<BaseChain>,
    pub(super) rules: Vec<Rule>,
}

/// Where packets enter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BaseChain {
    kind: &'static str,
    number: InetHookNumber,
    /// `enum nf_ip_hook_priorities` of `<linux/netfilter_ipv4.h>`
    priority: i32,
}

/// What a rule does, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) expressions: Vec<Expression>,
    comment: String,
}

/// The chains of a steering.
pub(super) fn chains(steering: &Steering) -> Vec<Chain> {
    let hook = |kind, number, priority| {
        Some(BaseChain {
            kind,
            number,
            priority,
        })
    };
    let mut questions = Vec::new();
    let mut answers = Vec::new();
    let mut jumped_to = Vec::new();
    for marked in &steering.vrfs {
        let chain = format!("vrf-{}", marked.vrf.ifindex);
        for device in &marked.vrf.ingress {
            questions.push(Rule {
                expressions: vec![
                    meta(MetaKey::L4Proto),
                    is(&[UDP]),
                    meta(MetaKey::Iif),
                    is(&device.to_ne_bytes()),
                    jump(&chain),
                ],
                comment: marked.vrf.name.clone(),
            });
        }
        answers.push(answer(marked, steering.mask));
        vrf_chains(marked, &chain, &mut jumped_to);
    }
    let mut chains = jumped_to;
    chains.extend([
        Chain {
            name: "questions".to_owned(),
            // Before the kernel looks for the connection (-200).
            hook: hook("filter", InetHookNumber::PreRouting, -300),
            rules: questions,
        },
        Chain {
            name: "answers".to_owned(),
            // After the kernel has found the connection. This type of chain looks for a new route.
            hook: hook("route", InetHookNumber::LocalOut, -150),
            rules: answers,
        },
        Chain {
            name: "apart".to_owned(),
            hook: hook("nat", InetHookNumber::LocalIn, 100),
            rules: Vec::new(),
        },
    ]);
    chains
}

fn answer(marked: &MarkedVrf, mask: MarkMask) -> Rule {
    let mut expressions = answers_in(marked.zone).to_vec();
    expressions.extend([
        meta(MetaKey::Mark),
        bits(&(!mask.bits()).to_ne_bytes(), &marked.mark.to_ne_bytes()),
        set_mark(),
    ]);
    Rule {
        expressions,
        comment: marked.vrf.name.clone(),
    }
}

/// The chain of a VRF, and one for each service of it that not every client may use.
fn vrf_chains(marked: &MarkedVrf, name: &str, chains: &mut Vec<Chain>) {
    let remember = || {
        let [load, set] = set_zone(marked.zone);
        vec![load, set, accept()]
    };
    let mut rules = Vec::new();
    for (index, service) in marked.vrf.services.iter().enumerate() {
        let comment = format!("{}/{}", service.leak, service.service);
        let then = if service.sources.is_empty() {
            remember()
        } else {
            let clients = format!("{name}-clients-{index}");
            chains.push(Chain {
                name: clients.clone(),
                hook: None,
                rules: service
                    .sources
                    .iter()
                    .map(|source| Rule {
                        expressions: [inside(*source, Field::source), remember()].concat(),
                        comment: comment.clone(),
                    })
                    .collect(),
            });
            vec![jump(&clients)]
        };
        rules.extend(places(service).map(|place| {
            Rule {
                expressions: [
                    inside(place, Field::destination),
                    to_ports(service.ports),
                    then.clone(),
                ]
                .concat(),
                comment: comment.clone(),
            }
        }));
    }
    // After those it jumps to: the kernel wants to know a chain before it is named.
    chains.push(Chain {
        name: name.to_owned(),
        hook: None,
        rules,
    });
}

fn places(service: &OpenService) -> impl Iterator<Item = Prefix> {
    let addresses = service.addresses.iter().copied().map(Prefix::host);
    addresses.chain(service.prefixes.iter().copied())
}

fn inside(prefix: Prefix, field: fn(bool) -> Field) -> Vec<Expression> {
    let net = IpNet::from(prefix);
    let ipv4 = net.addr().is_ipv4();
    let mut expressions = vec![
        meta(MetaKey::Nfproto),
        is(&[if ipv4 { IPV4 } else { IPV6 }]),
    ];
    if net.prefix_len() == 0 {
        return expressions;
    }
    expressions.push(field(ipv4).load());
    if net.prefix_len() < net.max_prefix_len() {
        let mask = octets(net.netmask());
        expressions.push(bits(&mask, &vec![0; mask.len()]));
    }
    expressions.push(is(&octets(net.network())));
    expressions
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn to_ports(ports: PortRange) -> Vec<Expression> {
    let mut expressions = vec![
        meta(MetaKey::L4Proto),
        is(&[UDP]),
        Field::destination_port().load(),
    ];
    let (first, last) = (ports.first().to_be_bytes(), ports.last().to_be_bytes());
    if first == last {
        expressions.push(is(&first));
    } else {
        expressions.push(compare(Operator::GreatherThanEqual, &first));
        expressions.push(compare(Operator::LessThanEqual, &last));
    }
    expressions
}

/// A request that makes the table.
pub(super) fn new_table() -> NfTablesMessage {
    NfTablesMessage::NewTable(TableMessage {
        attributes: vec![
            TableAttribute::Name(TABLE.to_owned()),
            TableAttribute::UserData(comment("made by vrfgate, which puts changes right")),
        ],
    })
}

/// A request that makes nothing of the table's content.
pub(super) fn bare_table() -> NfTablesMessage {
    NfTablesMessage::NewTable(the_table())
}

/// A request that removes the table and all that is in it.
pub(super) fn delete_table() -> NfTablesMessage {
    NfTablesMessage::DeleteTable(the_table())
}

/// A request that checks whether the table is there.
pub(super) fn get_table() -> NfTablesMessage {
    NfTablesMessage::GetTable(the_table())
}

fn the_table() -> TableMessage {
    TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    }
}

/// A request for all chains of the family.
pub(super) fn get_chains() -> NfTablesMessage {
    NfTablesMessage::GetChain(ChainMessage {
        attributes: Vec::new(),
    })
}

/// A request for the rules of the table.
pub(super) fn get_rules() -> NfTablesMessage {
    NfTablesMessage::GetRule(RuleMessage {
        attributes: vec![RuleAttribute::Table(TABLE.to_owned())],
    })
}

/// A request for the rules of all tables.
pub(super) fn get_all_rules() -> NfTablesMessage {
    NfTablesMessage::GetRule(RuleMessage {
        attributes: Vec::new(),
    })
}

impl Chain {
    /// A request that makes the chain, without its rules.
    pub(super) fn message(&self) -> NfTablesMessage {
        let mut attributes = vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(self.name.clone()),
        ];
        attributes.extend(self.hook.iter().flat_map(BaseChain::attributes));
        NfTablesMessage::NewChain(ChainMessage { attributes })
    }

    /// Whether a chain of the kernel is this one, rules aside.
    pub(super) fn is(&self, found: &ChainMessage) -> bool {
        let expected = [ChainAttribute::Name(self.name.clone())];
        let hook = self.hook.iter().flat_map(BaseChain::attributes);
        expected
            .into_iter()
            .chain(hook)
            .all(|attribute| found.attributes.contains(&attribute))
    }
}

impl BaseChain {
    fn attributes(&self) -> [ChainAttribute; 2] {
        [
            ChainAttribute::Type(self.kind.to_owned()),
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Inet(self.number)),
                // Two's complement, as the kernel has it.
                Hook::Priority(u32::from_ne_bytes(self.priority.to_ne_bytes())),
            ]),
        ]
    }
}

impl Rule {
    /// A request that puts the rule at the end of a chain.
    pub(super) fn message(&self, chain: &str) -> NfTablesMessage {
        NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(TABLE.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(self.expressions.clone()),
                RuleAttribute::UserData(comment(&self.comment)),
            ],
        })
    }

    /// Whether a rule of the kernel does what this one does. The kernel may return more of each
    /// expression than it was given, and newer ones do.
    pub(super) fn is(&self, found: &RuleMessage) -> bool {
        let found = found
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RuleAttribute::Expressions(expressions) => Some(expressions),
                _ => None,
            });
        found.is_some_and(|found| {
            found.len() == self.expressions.len()
                && self
                    .expressions
                    .iter()
                    .zip(found)
                    .all(|(wanted, found)| says_at_least(found, wanted))
        })
    }
}

fn says_at_least(found: &Expression, wanted: &Expression) -> bool {
    let parts = |expression: &Expression| match expression {
        ListAttribute::Element(parts) => parts.clone(),
        _ => Vec::new(),
    };
    let found = parts(found);
    parts(wanted).iter().all(|wanted| {
        found.iter().any(|found| match (found, wanted) {
            (ExpressionAttribute::Data(found), ExpressionAttribute::Data(wanted)) => {
                has_all(found, wanted)
            }
            _ => found == wanted,
        })
    })
}

fn has_all(found: &Expressions, wanted: &Expressions) -> bool {
    fn all<T: PartialEq>(found: &[T], wanted: &[T]) -> bool {
        wanted.iter().all(|attribute| found.contains(attribute))
    }
    match (found, wanted) {
        (Expressions::Bitwise(found), Expressions::Bitwise(wanted)) => all(found, wanted),
        (Expressions::Cmp(found), Expressions::Cmp(wanted)) => all(found, wanted),
        (Expressions::Immediate(found), Expressions::Immediate(wanted)) => all(found, wanted),
        (Expressions::Meta(found), Expressions::Meta(wanted)) => all(found, wanted),
        (Expressions::Payload(found), Expressions::Payload(wanted)) => all(found, wanted),
        (
            Expressions::Other {
                attributes: found, ..
            },
            Expressions::Other {
                attributes: wanted, ..
            },
        ) => all(found, wanted),
        _ => false,
    }
}

/// As nft(8) keeps a comment: type, length, text with a closing zero.
fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(LONGEST_COMMENT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let length = u8::try_from(end + 1).unwrap_or(u8::MAX);
    [&[COMMENT, length], &text.as_bytes()[..end], &[0]].concat()
}
