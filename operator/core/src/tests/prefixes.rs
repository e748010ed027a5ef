//! Which addresses a prefix stands for, held against a plain reading of the words.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use crate::Prefix;

/// What only a prefix wholly inside means. Of `::/127`, the other address is nobody's.
const KEPT: [&str; 4] = ["127.0.0.0/8", "169.254.0.0/16", "::/127", "fe80::/10"];

fn kept() -> [IpNet; 4] {
    KEPT.map(|range| range.parse().unwrap())
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Prefixes of every length, many of them around the ranges that matter.
fn prefixes() -> impl Strategy<Value = Prefix> {
    let near_v4 = prop_oneof![
        any::<u32>(),
        Just(0x7f00_0001),
        Just(0xa9fe_140a),
        (0x7e00_0000u32..0x8100_0000),
        (0xa9fc_0000u32..0xaa01_0000),
    ];
    let near_v6 = prop_oneof![
        any::<u128>(),
        Just(1u128),
        (0u128..8),
        (0xfe00u128..0xff00).prop_map(|top| top << 112),
    ];
    let v4 = (near_v4, 0u8..=32)
        .prop_map(|(bits, length)| IpNet::from(Ipv4Net::new(bits.into(), length).unwrap().trunc()));
    let v6 = (near_v6, 0u8..=128)
        .prop_map(|(bits, length)| IpNet::from(Ipv6Net::new(bits.into(), length).unwrap().trunc()));
    prop_oneof![v4, v6].prop_filter_map("no host has such an address", |net| Prefix::new(net).ok())
}

/// Addresses at which anything can change: ends of these prefixes and of the ranges that matter, and their neighbours.
fn witnesses(prefixes: &[Prefix]) -> Vec<IpAddr> {
    let nets = prefixes
        .iter()
        .map(|prefix| IpNet::from(*prefix))
        .chain(kept());
    nets.flat_map(|net| {
        let (first, last) = (net.network(), net.broadcast());
        [
            Some(first),
            Some(last),
            neighbour(first, false),
            neighbour(last, true),
        ]
    })
    .flatten()
    .filter(|address| !address.is_multicast() && !address.is_unspecified())
    .collect()
}

fn neighbour(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let next = if up {
                bits.checked_add(1)
            } else {
                bits.checked_sub(1)
            };
            next.map(|bits| IpAddr::V4(bits.into()))
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let next = if up {
                bits.checked_add(1)
            } else {
                bits.checked_sub(1)
            };
            next.map(|bits| IpAddr::V6(bits.into()))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn loopback_and_link_local_addresses_are_meant_only_by_a_prefix_wholly_among_them(prefix in prefixes()) {
        for address in witnesses(&[prefix]) {
            let wholly_among = |range: &IpNet| range.contains(&IpNet::from(prefix));
            let ranges = kept();
            let range = ranges.iter().find(|range| range.contains(&address));
            let expected = prefix.contains(address) && range.is_none_or(wholly_among);
            prop_assert_eq!(prefix.means(address), expected, "{} {}", prefix, address);
        }
    }

    #[test]
    fn two_prefixes_overlap_exactly_where_both_mean_an_address(one in prefixes(), other in prefixes()) {
        let both = witnesses(&[one, other])
            .into_iter()
            .find(|address| one.means(*address) && other.means(*address));
        prop_assert_eq!(one.overlap(other).is_some(), both.is_some(), "{} {} {:?}", one, other, both);
        prop_assert_eq!(one.overlap(other), other.overlap(one));
    }

    #[test]
    fn of_a_prefix_that_is_local_as_a_whole_exactly_what_is_meant_is_opened(
        wanted in prefixes(),
        local in prefixes(),
    ) {
        let parts = wanted.means_of(local);
        let all: Vec<Prefix> = parts.iter().copied().chain([wanted, local]).collect();
        for address in witnesses(&all) {
            let holders = parts.iter().filter(|part| part.contains(address)).count();
            let expected = local.contains(address) && wanted.means(address);
            prop_assert_eq!(holders, usize::from(expected), "{} of {}: {}", wanted, local, address);
        }
        prop_assert!(parts.is_sorted());
        for part in parts {
            prop_assert!(Prefix::new(part.into()).is_ok(), "{}", part);
        }
    }
}

#[test]
fn what_is_split_stays_few() {
    let parts = |text| prefix(text).means_of(prefix(text)).len();
    assert_eq!(parts("0.0.0.0/0"), 23);
    assert_eq!(parts("192.0.2.0/24"), 1);
    assert_eq!(parts("::/0"), 134);
}
