//! Others who use marks, and the kernel modules that steering needs. Changes nothing.

use std::{collections::BTreeSet, fmt, fs, path::Path};

use netlink_packet_core::{DefaultNla, Nla as _};
use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{
        Bitwise, DataAttribute, ExpressionAttribute, Expressions, ListAttribute, Meta, MetaKey,
        RuleAttribute, RuleMessage,
    },
};
use vrfgate_core::MarkMask;
use vrfgate_machine::kernel_release;

use super::{nftables::AnyRule, rules::MarkRule, table::TABLE};

/// `NFTA_TARGET_NAME` and `NFTA_TARGET_INFO`: targets of iptables in nftables' clothes.
const TARGET_NAME: u16 = 1;
const TARGET_INFO: u16 = 3;

/// What steering is made of, besides nftables itself.
const MODULES: [&str; 4] = ["nf_tables", "nf_conntrack", "nft_ct", "nft_chain_nat"];

/// Another's use of the bits that steering is to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkUser {
    /// A policy rule that matches them, as `ip rule` takes it.
    Rule(String),
    /// A chain of nftables that changes them, as `nft list` takes it.
    Chain(String),
    /// The chains could not be read, for this reason.
    Unknown(String),
}

impl fmt::Display for MarkUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "policy rule `{rule}` looks at them"),
            Self::Chain(chain) => write!(f, "`nft list {chain}` changes them"),
            Self::Unknown(reason) => write!(f, "nf_tables may, which can't be told: {reason}"),
        }
    }
}

pub(super) fn rules(rules: &[MarkRule], mask: MarkMask) -> Vec<MarkUser> {
    rules
        .iter()
        .filter(|rule| rule.mask & mask.bits() != 0)
        .map(|rule| {
            MarkUser::Rule(format!(
                "ip -{} rule pref {} fwmark {:#x}/{:#x}",
                if rule.ipv4 { 4 } else { 6 },
                rule.preference,
                rule.mark,
                rule.mask
            ))
        })
        .collect()
}

pub(super) fn chains(rules: &[AnyRule], mask: MarkMask) -> BTreeSet<MarkUser> {
    let others = rules
        .iter()
        .filter(|any| any.table != TABLE || any.family != NetfilterProtoFamily::Inet);
    others
        .filter_map(|any| {
            let AnyRule {
                family,
                table,
                chain,
                rule,
            } = any;
            let chain = format!("chain {} {table} {chain}", family_name(*family));
            match rule {
                Some(rule) if changed_bits(rule) & mask.bits() == 0 => None,
                Some(_) => Some(MarkUser::Chain(chain)),
                None => Some(MarkUser::Unknown(format!(
                    "a rule of `nft list {chain}` can't be read"
                ))),
            }
        })
        .collect()
}

/// Bits of packets' marks that a rule may change.
fn changed_bits(rule: &RuleMessage) -> u32 {
    /// What is loaded has nothing in common with the mark, for all that is known.
    const ANYTHING: u32 = u32::MAX;
    let mut changed = 0;
    // In which bits the value at hand may differ from the mark.
    let mut differs = ANYTHING;
    for expression in expressions(rule) {
        match expression {
            Expressions::Meta(meta) if meta.contains(&Meta::Key(MetaKey::Mark)) => {
                if meta
                    .iter()
                    .any(|part| matches!(part, Meta::SourceRegister(_)))
                {
                    changed |= differs;
                } else {
                    differs = 0;
                }
            }
            Expressions::Bitwise(bitwise) => {
                for part in bitwise {
                    match part {
                        Bitwise::Mask(DataAttribute::Value(mask)) => differs |= !number(mask),
                        Bitwise::Xor(DataAttribute::Value(flip)) => differs |= number(flip),
                        _ => {}
                    }
                }
            }
            Expressions::Cmp(_) => {}
            Expressions::Other {
                expression_type,
                attributes,
            } if expression_type == "target" => changed |= changed_by_target(attributes),
            _ => differs = ANYTHING,
        }
    }
    changed
}

fn expressions(rule: &RuleMessage) -> impl Iterator<Item = &Expressions> {
    let lists = rule
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            RuleAttribute::Expressions(list) => Some(list),
            _ => None,
        });
    let parts = lists.flatten().filter_map(|element| match element {
        ListAttribute::Element(parts) => Some(parts),
        _ => None,
    });
    parts.flatten().filter_map(|part| match part {
        ExpressionAttribute::Data(data) => Some(data),
        _ => None,
    })
}

/// `iptables -j MARK`: `struct xt_mark_tginfo2 {mark, mask}`.
fn changed_by_target(attributes: &[DefaultNla]) -> u32 {
    let value = |kind| {
        attributes
            .iter()
            .find(|attribute| attribute.kind() == kind)
            .map(|attribute| {
                let mut value = vec![0; attribute.value_len()];
                attribute.emit_value(&mut value);
                value
            })
            .unwrap_or_default()
    };
    if !value(TARGET_NAME).starts_with(b"MARK\0") {
        return 0;
    }
    match value(TARGET_INFO).split_at_checked(4) {
        Some((mark, kept)) => number(mark) | number(kept),
        None => u32::MAX,
    }
}

/// The first four bytes; all bits where there are fewer.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(u32::MAX, |bytes| u32::from_ne_bytes(*bytes))
}

fn family_name(family: NetfilterProtoFamily) -> &'static str {
    match family {
        NetfilterProtoFamily::Inet => "inet",
        NetfilterProtoFamily::IPv4 => "ip",
        NetfilterProtoFamily::IPv6 => "ip6",
        NetfilterProtoFamily::ARP => "arp",
        NetfilterProtoFamily::Bridge => "bridge",
        _ => "netdev",
    }
}

/// Modules that the running kernel neither has loaded, nor built in, nor on disk. Empty where its modules
/// can't be seen, as in a container.
#[must_use]
pub fn missing_modules() -> Vec<&'static str> {
    let directory = Path::new("/lib/modules").join(kernel_release());
    let list = |name| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let known = list("modules.dep") + &list("modules.builtin");
    if known.is_empty() {
        return Vec::new();
    }
    MODULES
        .into_iter()
        .filter(|module| !known.contains(&format!("/{module}.ko")))
        .filter(|module| !Path::new("/sys/module").join(module).exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::expression as nft, *};

    /// A rule of somebody's with these expressions.
    fn rule(expressions: Vec<nft::Expression>) -> RuleMessage {
        RuleMessage {
            attributes: vec![RuleAttribute::Expressions(expressions)],
        }
    }

    fn in_output(rule: Option<RuleMessage>) -> AnyRule {
        AnyRule {
            family: NetfilterProtoFamily::IPv4,
            table: "filter".into(),
            chain: "OUTPUT".into(),
            rule,
        }
    }

    fn changes(expressions: Vec<nft::Expression>) -> u32 {
        changed_bits(&rule(expressions))
    }

    /// `iptables -j MARK --set-xmark mark/mask`, as nftables shows it.
    fn target(name: &[u8], mark: u32, bits: u32) -> nft::Expression {
        let info = [mark.to_ne_bytes(), bits.to_ne_bytes()].concat();
        Expressions::Other {
            expression_type: "target".into(),
            attributes: vec![
                DefaultNla::new(TARGET_NAME, name.to_vec()),
                DefaultNla::new(TARGET_INFO, info),
            ],
        }
        .into()
    }

    #[test]
    fn a_rule_changes_the_bits_that_it_replaces_and_no_others() {
        let load = || nft::meta(MetaKey::Mark);
        let bits = |mask: u32, flip: u32| nft::bits(&mask.to_ne_bytes(), &flip.to_ne_bytes());
        assert_eq!(
            changes(vec![load(), bits(!0xf0, 0x20), nft::set_mark()]),
            0xf0
        );
        assert_eq!(changes(vec![load(), bits(!0, 0x5), nft::set_mark()]), 0x5);
        let looks_only = vec![load(), bits(0xff, 0), nft::is(&[0; 4])];
        assert_eq!(changes(looks_only), 0);
        let [constant, _] = nft::set_zone(1);
        assert_eq!(changes(vec![constant, nft::set_mark()]), u32::MAX);
    }

    #[test]
    fn targets_of_iptables_are_understood() {
        assert_eq!(changes(vec![target(b"MARK\0", 0x4000, 0x4000)]), 0x4000);
        assert_eq!(changes(vec![target(b"MASQUERADE\0", 1, 1)]), 0);
    }

    #[test]
    fn only_those_that_change_bits_of_the_mask_are_told_and_each_chain_once() {
        let kube = || in_output(Some(rule(vec![target(b"MARK\0", 0x4000, 0x4000)])));
        let told = |mask: &str| chains(&[kube(), kube()], mask.parse().unwrap());
        assert_eq!(told("0x7f"), [].into());
        let chain = MarkUser::Chain("chain ip filter OUTPUT".into());
        assert_eq!(told("0xc000"), [chain].into());
    }

    #[test]
    fn a_chain_with_a_rule_that_cannot_be_read_is_told_once() {
        let told = chains(&[in_output(None), in_output(None)], "0x7f".parse().unwrap());
        let unknown = "a rule of `nft list chain ip filter OUTPUT` can't be read";
        assert_eq!(told, [MarkUser::Unknown(unknown.into())].into());
    }
}
