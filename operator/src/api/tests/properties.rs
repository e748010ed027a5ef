//! What holds for every file.

use proptest::prelude::*;
use vrfgate_core::{PortRange, Prefix};

use super::{read, with_spec};
use crate::api::read_leaks;

/// Any prefix that may be written, of either family.
fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (1u32..0xe000_0000, 8u8..=32).prop_map(|(bits, length)| {
        ipnet::Ipv4Net::new(bits.into(), length)
            .unwrap()
            .trunc()
            .to_string()
    });
    let v6 = (0x2000u128..0x4000, any::<u128>(), 16u8..=128).prop_map(|(top, rest, length)| {
        let bits = top << 112 | rest >> 16;
        ipnet::Ipv6Net::new(bits.into(), length)
            .unwrap()
            .trunc()
            .to_string()
    });
    prop_oneof![v4, v6].prop_filter_map("no host has such an address", |text| text.parse().ok())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\n]{0,200}") {
        let _ = read_leaks("leaks.yaml", &text);
    }

    #[test]
    fn no_spec_makes_the_reader_panic(spec in "[a-z0-9:/.{}, \\[\\]'\"-]{0,120}") {
        let _ = read_leaks("leaks.yaml", &with_spec(&format!("vrf: BLUE, services: [{spec}]")));
    }

    #[test]
    fn a_prefix_is_printed_as_it_is_written(prefix in prefix()) {
        prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
    }

    #[test]
    fn what_is_written_is_what_is_read(
        first in 1u16..,
        more in any::<u16>(),
        addresses in proptest::collection::btree_set(prefix(), 1..8),
        sources in proptest::collection::btree_set(prefix(), 0..8),
    ) {
        let family = |prefix: &Prefix| prefix.network().is_ipv4();
        let meet = |source| addresses.iter().any(|address| family(address) == family(source));
        prop_assume!(sources.is_empty() || sources.iter().any(meet), "nobody could use the service");
        let last = first.saturating_add(more);
        let list = |prefixes: &std::collections::BTreeSet<Prefix>| {
            prefixes.iter().map(|prefix| format!("'{prefix}'")).collect::<Vec<_>>().join(", ")
        };
        let leaks = read(&with_spec(&format!(
            "vrf: BLUE, services: [{{name: a, protocol: UDP, port: {first}, endPort: {last}, \
             addresses: [{}], sources: [{}]}}]",
            list(&addresses),
            list(&sources),
        )));
        let service = &leaks[0].services[0];
        prop_assert_eq!(Some(service.ports), PortRange::new(first.try_into()?, last.try_into()?));
        prop_assert!(service.addresses.iter().eq(&addresses));
        prop_assert!(service.sources.iter().eq(&sources));
    }
}
