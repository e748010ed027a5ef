//! For the fuzzer: readers of what is not ours to trust.

use std::iter;

use vrfgate_abi::{PrefixRule, RuleKey, RuleValue, Source, VrfPolicy};
use vrfgate_core::RuleSet;

use crate::{
    L3mdevAccept,
    encode::{Found, Tables},
    netlink::{self, Messages},
    record::Record,
    slots::{Allocation, Slots},
    sockets, tracker,
};

/// A record of a gate, as a file has it; or the kernel's types.
pub fn files(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        let written = serde_json::to_vec(&record).expect("a record can be written");
        let again = Record::parse(&written).expect("what was written can be read");
        assert_eq!(record, again);
    }
    tracker::has_member(bytes, b"inet_bind_bucket", b"bhash2");
    tracker::read_types(bytes);
}

/// A datagram of the kernel, read as every list of the loader.
pub fn netlink(datagram: &[u8]) {
    netlink::read_everything(datagram);
    for message in Messages::of(datagram).flatten() {
        sockets::read_everything(&message);
    }
}

/// Maps that somebody has written to by their pins: whatever is there is decoded. When it is a rule set at all, it can be put into
/// force, and is that rule set then.
pub fn pins(bytes: &[u8]) {
    let Found { vrfs, slaves } = tables(bytes).decode(&Slots::default());
    let Ok(found) = RuleSet::new(vrfs, slaves) else {
        return;
    };
    // Of what means nothing, such as a key with bits behind its prefix, nothing is left.
    let Some(once) = in_force(&found) else {
        return;
    };
    assert_eq!(in_force(&once).as_ref(), Some(&once));
}

fn in_force(rules: &RuleSet) -> Option<RuleSet> {
    let none = Slots::default();
    let mut slots = Allocation::new(&none, iter::empty(), u32::MAX);
    let tables = Tables::encode(rules, L3mdevAccept::CLOSED, &mut slots).ok()?;
    let (slots, _) = slots.finish();
    let Found { vrfs, slaves } = tables.decode(&slots);
    RuleSet::new(vrfs, slaves).ok()
}

/// Entries as bytes: which map's, then its key and value, as far as the input goes.
fn tables(bytes: &[u8]) -> Tables {
    let mut tables = Tables::default();
    let mut rest = Bytes(bytes);
    while rest.entry(&mut tables).is_some() {}
    tables
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn value(&mut self) -> Option<RuleValue> {
        Some(RuleValue {
            rule: self.number()?,
            flags: self.number()?,
        })
    }

    fn entry(&mut self, tables: &mut Tables) -> Option<()> {
        match self.byte()? % 5 {
            0 => {
                let policy = VrfPolicy {
                    flags: self.number()?,
                    counter: self.number()?,
                    tcp_blocks: self.number()?,
                    udp_blocks: self.number()?,
                };
                tables.vrfs.insert(self.number()?, policy);
            }
            1 => {
                tables.slaves.insert(self.number()?, self.number()?);
            }
            2 => {
                let key = RuleKey {
                    vrf: self.number()?,
                    port: self.take().map(u16::from_le_bytes)?,
                    protocol: self.byte()?,
                    block: self.byte()?,
                    address: self.take()?,
                };
                tables.rules.insert(key, self.value()?);
            }
            3 => {
                let bits = self.number()?;
                let key = PrefixRule {
                    vrf: self.take()?,
                    port: self.take()?,
                    protocol: self.byte()?,
                    block: self.byte()?,
                    family: self.take()?,
                    address: self.take()?,
                };
                tables.prefix_rules.insert((bits, key), self.value()?);
            }
            _ => {
                let bits = self.number()?;
                let key = Source {
                    rule: self.take()?,
                    family: self.byte()?,
                    address: self.take()?,
                };
                tables.sources.insert((bits, key));
            }
        }
        Some(())
    }
}
