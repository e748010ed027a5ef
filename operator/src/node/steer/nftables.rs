//! Our table in the kernel's nftables: whether it is there, and changes that are made as a whole or not at
//! all.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage},
};
use vrfgate_ebpf::Netns;

use super::{
    socket::Netfilter,
    table::{self, Chain, TABLE},
};

/// Nftables of one namespace.
pub(super) struct NfTables(Netfilter);

impl NfTables {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        Netfilter::open(netns).map(Self)
    }

    /// Whether our table is there.
    pub(super) fn has_table(&self) -> io::Result<bool> {
        match self.0.ask(inet(table::get_table()), NLM_F_ACK) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether our table is there and has these chains and rules, and no others.
    pub(super) fn holds(&self, chains: &[Chain]) -> io::Result<bool> {
        if !self.has_table()? {
            return Ok(false);
        }
        let found: Vec<ChainMessage> = self
            .list(inet(table::get_chains()))?
            .filter_map(|(_, message)| match message {
                NfTablesMessage::NewChain(chain) => Some(chain),
                _ => None,
            })
            .filter(|chain| {
                chain
                    .attributes
                    .contains(&ChainAttribute::Table(TABLE.to_owned()))
            })
            .collect();
        let rules: Vec<RuleMessage> = self
            .list(inet(table::get_rules()))?
            .filter_map(|(_, message)| match message {
                NfTablesMessage::NewRule(rule) => Some(rule),
                _ => None,
            })
            .collect();
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

    /// Every rule of every table, with the table's family.
    pub(super) fn all_rules(&self) -> io::Result<Vec<(NetfilterProtoFamily, RuleMessage)>> {
        let any = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
        let found = self.list(NetfilterMessage::new(any, table::get_all_rules()))?;
        Ok(found
            .filter_map(|(family, message)| match message {
                NfTablesMessage::NewRule(rule) => Some((family, rule)),
                _ => None,
            })
            .collect())
    }

    /// Puts our table in place of the one that may be there, with these chains and rules. No packet sees a
    /// part of it.
    pub(super) fn replace(&self, chains: &[Chain]) -> io::Result<()> {
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
        self.0.commit(changes)
    }

    /// Removes our table. False when there was none.
    pub(super) fn remove(&self) -> io::Result<bool> {
        if !self.has_table()? {
            return Ok(false);
        }
        match self.0.commit(vec![(inet(table::delete_table()), 0)]) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(
        &self,
        question: NetfilterMessage,
    ) -> io::Result<impl Iterator<Item = (NetfilterProtoFamily, NfTablesMessage)>> {
        let answers = self.0.ask(question, NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(|answer| match answer.inner {
            NetfilterMessageInner::NfTables(message) => Some((answer.header.family, message)),
            _ => None,
        }))
    }
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0),
        message,
    )
}
