//! Our table in the kernel's nftables: whether it is there, and changes that are made as a whole or not at
//! all.

use std::io;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage},
};
use vrfgate_ebpf::{Netns, netlink::Message};

use super::{
    socket::{NFGENMSG, Netfilter, decoded},
    table::{self, Chain, TABLE},
};

/// `<linux/netfilter/nf_tables.h>`
const NEW_CHAIN: u16 = (10 << 8) + 3;
const NEW_RULE: u16 = (10 << 8) + 6;
/// `NFTA_CHAIN_TABLE` and `NFTA_RULE_TABLE`; `NFTA_RULE_CHAIN`.
const IN_TABLE: u16 = 1;
const IN_CHAIN: u16 = 2;

/// A rule of any table.
pub(super) struct AnyRule {
    pub(super) family: NetfilterProtoFamily,
    pub(super) table: String,
    pub(super) chain: String,
    /// Its content; `None` where it can't be read.
    pub(super) rule: Option<RuleMessage>,
}

/// Nftables of one namespace.
pub(super) struct NfTables(Netfilter);

impl NfTables {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        Netfilter::open(netns).map(Self)
    }

    /// Whether our table is there.
    pub(super) fn has_table(&mut self) -> io::Result<bool> {
        match self.0.ask(&inet(table::get_table())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether our table is there and has these chains and rules, and no others.
    pub(super) fn holds(&mut self, chains: &[Chain]) -> io::Result<bool> {
        if !self.has_table()? {
            return Ok(false);
        }
        // Others' chains and tables are left out before anything is made of them. What of ours can't be read is not what
        // we wrote.
        let chains_of_ours = |message: Message<'_>| {
            let ours = message.kind == NEW_CHAIN && text(&message, IN_TABLE) == TABLE;
            Ok(ours.then(|| chain(&message)))
        };
        let found = self.0.list(&inet(table::get_chains()), chains_of_ours)?;
        let rules_of_ours = |message: Message<'_>| {
            let ours = message.kind == NEW_RULE && text(&message, IN_TABLE) == TABLE;
            Ok(ours.then(|| rule(&message)))
        };
        let rules = self.0.list(&inet(table::get_rules()), rules_of_ours)?;
        let found: Option<Vec<ChainMessage>> = found.into_iter().collect();
        let rules: Option<Vec<RuleMessage>> = rules.into_iter().collect();
        let (Some(found), Some(rules)) = (found, rules) else {
            return Ok(false);
        };
        let of_chain = |chain: &Chain| {
            let name = RuleAttribute::Chain(chain.name.clone());
            rules
                .iter()
                .filter(move |rule| rule.attributes.contains(&name))
                .collect::<Vec<_>>()
        };
        Ok(found.len() == chains.len()
            && chains.iter().all(|chain| {
                let rules = of_chain(chain);
                found.iter().any(|found| chain.is(found))
                    && rules.len() == chain.rules.len()
                    && chain
                        .rules
                        .iter()
                        .zip(rules)
                        .all(|(rule, found)| rule.is(found))
            }))
    }

    /// Every rule of every table.
    pub(super) fn all_rules(&mut self) -> io::Result<Vec<AnyRule>> {
        let any = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
        let question = NetfilterMessage::new(any, table::get_all_rules());
        self.0.list(&question, |message| {
            if message.kind != NEW_RULE {
                return Ok(None);
            }
            let [family] = message.field(0)?;
            Ok(Some(AnyRule {
                family: family.into(),
                table: text(&message, IN_TABLE),
                chain: text(&message, IN_CHAIN),
                rule: rule(&message),
            }))
        })
    }

    /// Puts our table in place of the one that may be there, with these chains and rules. No packet sees a
    /// part of it.
    pub(super) fn replace(&mut self, chains: &[Chain]) -> io::Result<()> {
        let mut changes = vec![
            // A table that isn't there can't be deleted.
            (inet(table::bare_table()), NLM_F_CREATE),
            (inet(table::delete_table()), 0),
            (inet(table::new_table()), NLM_F_CREATE),
        ];
        for chain in chains {
            changes.push((inet(chain.message()), NLM_F_CREATE));
        }
        for chain in chains {
            for rule in &chain.rules {
                let message = inet(rule.message(&chain.name));
                changes.push((message, NLM_F_CREATE | NLM_F_APPEND));
            }
        }
        self.0.commit(&changes)
    }

    /// Removes our table. False when there was none.
    pub(super) fn remove(&mut self) -> io::Result<bool> {
        if !self.has_table()? {
            return Ok(false);
        }
        match self.0.commit(&[(inet(table::delete_table()), 0)]) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn text(message: &Message<'_>, kind: u16) -> String {
    let attribute = message.attributes(NFGENMSG).find(kind);
    attribute
        .map(|attribute| attribute.text())
        .unwrap_or_default()
}

fn chain(message: &Message<'_>) -> Option<ChainMessage> {
    match decoded(message)?.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) => Some(chain),
        _ => None,
    }
}

fn rule(message: &Message<'_>) -> Option<RuleMessage> {
    match decoded(message)?.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) => Some(rule),
        _ => None,
    }
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0),
        message,
    )
}
